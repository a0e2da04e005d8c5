//! The gRPC types of the protocols that FolioMQ speaks, generated from `proto/` at build time.
#![forbid(unsafe_code)]
#![allow(missing_docs, unused_qualifications, rustdoc::all, clippy::all)]

pub use apache::rocketmq::v2;
pub use foliomq::v1;

// The generated code of one package names the other by its path, so the nesting mirrors the packages.
pub mod apache {
    pub mod rocketmq {
        /// The protocol of the RocketMQ 5 clients.
        pub mod v2 {
            tonic::include_proto!("apache.rocketmq.v2");
        }
    }
}

pub mod foliomq {
    /// Administration of one broker.
    pub mod v1 {
        tonic::include_proto!("foliomq.v1");
    }
}

/// Key of the metadata of a gRPC status in which `foliomq.v1` says its code of `apache.rocketmq.v2`, as a decimal number.
pub const CODE_KEY: &str = "foliomq-code";

/// The encoded `FileDescriptorSet` of every service, for gRPC reflection.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
