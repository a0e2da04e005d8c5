//! Compiles `proto/` with protox, so that no protoc has to be installed.

use std::path::PathBuf;

const FILES: [&str; 5] = [
    "apache/rocketmq/v2/definition.proto",
    "apache/rocketmq/v2/service.proto",
    "apache/rocketmq/v2/admin.proto",
    "foliomq/v1/admin.proto",
    "foliomq/v1/messaging.proto",
];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let root = PathBuf::from(std::env::var("CARGO_MANIFEST_DIR")?).join("../../proto");
    println!("cargo::rerun-if-changed={}", root.display());
    let descriptors = protox::compile(FILES, [&root])?;
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    std::fs::write(
        out.join("descriptors.bin"),
        prost::Message::encode_to_vec(&descriptors),
    )?;
    tonic_prost_build::configure()
        .bytes(".apache.rocketmq.v2.Message.body")
        .bytes(".foliomq.v1.NewMessage.body")
        .build_transport(true)
        .compile_fds(descriptors)?;
    Ok(())
}
