//! What a broker says of itself: every method of every service that it serves.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use anyhow::{Context, Result};
use prost::Message;
use prost_types::FileDescriptorProto;
use tonic::transport::Channel;
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;

use super::schema;

/// As requests' paths: `/package.Service/Method`.
///
/// # Errors
/// If the broker does not answer, or not as the reflection protocol has it.
pub async fn methods(address: SocketAddr) -> Result<BTreeSet<String>> {
    let channel = Channel::from_shared(format!("http://{address}"))?
        .connect()
        .await?;
    let mut client = ServerReflectionClient::new(channel);
    let listed = ask(&mut client, MessageRequest::ListServices(String::new())).await?;
    let MessageResponse::ListServicesResponse(listed) = listed else {
        anyhow::bail!("no list of services: {listed:?}");
    };
    let mut found = BTreeSet::new();
    for service in listed.service {
        let symbol = MessageRequest::FileContainingSymbol(service.name.clone());
        let described = ask(&mut client, symbol).await?;
        let MessageResponse::FileDescriptorResponse(described) = described else {
            anyhow::bail!("no description of {}: {described:?}", service.name);
        };
        for file in described.file_descriptor_proto {
            let methods = schema::methods(&FileDescriptorProto::decode(&*file)?);
            found.extend(methods.into_iter().map(|method| method.path));
        }
    }
    Ok(found)
}

async fn ask(
    client: &mut ServerReflectionClient<Channel>,
    request: MessageRequest,
) -> Result<MessageResponse> {
    let request = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(request),
    };
    let requests = futures_util::stream::iter([request]);
    let mut answers = client.server_reflection_info(requests).await?.into_inner();
    let answer = answers.message().await?.context("no answer")?;
    answer.message_response.context("an empty answer")
}
