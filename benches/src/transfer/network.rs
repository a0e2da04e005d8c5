//! Where the bytes travel: loopback, or a pair of virtual devices between two network namespaces.
//!
//! The namespaces have no names: they are gone, with their devices, when this process ends, however it ends.

use std::fs::File;
use std::net::{IpAddr, Ipv4Addr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::process::Command;
use std::thread;

use anyhow::{Context, Result, ensure};
use rustix::net::sockopt::{set_tcp_congestion, set_tcp_cork, set_tcp_nodelay};
use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space};
use serde::{Deserialize, Serialize};

use crate::raw::{self, Feature};
use crate::source::Pattern;

/// The same for every run, so that a machine's default (BBR, which paces) does not decide.
pub const CONGESTION: &str = "cubic";
/// Device names, of the sender's end and the receiver's.
const DEVICES: [&str; 2] = ["folio-tx", "folio-rx"];
/// Addresses of the two ends.
const ENDS: [Ipv4Addr; 2] = [Ipv4Addr::new(198, 18, 0, 1), Ipv4Addr::new(198, 18, 0, 2)];

/// A way for bytes from one socket to another on this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// 127.0.0.1.
    Loopback,
    /// A veth pair as the kernel makes it.
    Veth,
    /// Scatter-gather stays, but packets are cut to 1500 bytes before the device: what is left between this and the
    /// next is linearising alone.
    VethCut,
    /// No scatter-gather: every packet must be one piece of memory.
    VethLinear,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Loopback, Self::Veth, Self::VethCut, Self::VethLinear];

    /// Its name on the page.
    pub fn name(self) -> &'static str {
        match self {
            Self::Loopback => "loopback",
            Self::Veth => "veth",
            Self::VethCut => "veth, tso off gso off",
            Self::VethLinear => "veth, sg off tso off gso off",
        }
    }

    /// Whether a pattern is worth sending on it: a polling consumer shows what waking costs, which cut packets hide.
    pub fn carries(self, pattern: Pattern) -> bool {
        pattern != Pattern::Polled || matches!(self, Self::Loopback | Self::Veth)
    }

    /// What the device of the sender is called there.
    pub fn device(self) -> &'static str {
        match self {
            Self::Loopback => "lo",
            _ => DEVICES[0],
        }
    }

    fn off(self) -> &'static [Feature] {
        match self {
            Self::Loopback | Self::Veth => &[],
            Self::VethCut => &[Feature::Tso, Feature::Gso],
            Self::VethLinear => &[Feature::Tso, Feature::Gso, Feature::ScatterGather],
        }
    }
}

/// When TCP sends what does not fill a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delay {
    /// At once (`TCP_NODELAY`).
    None,
    /// Not before there is more, or the end (`TCP_CORK`): a sender of many messages knows that more will come.
    Corked,
}

/// A network that is up.
#[derive(Debug)]
pub struct Network {
    /// Which.
    pub kind: Kind,
    /// The namespaces of sender and receiver; none for loopback.
    ends: Option<[File; 2]>,
}

impl Network {
    /// Brings it up; needs root and `ip` of iproute2 for anything but loopback.
    pub fn up(kind: Kind) -> Result<Self> {
        if kind == Kind::Loopback {
            return Ok(Self { kind, ends: None });
        }
        ensure!(
            rustix::process::geteuid().is_root(),
            "making network namespaces needs root"
        );
        let ends = [new_namespace()?, new_namespace()?];
        let network = Self {
            kind,
            ends: Some(ends),
        };
        network
            .plug()
            .with_context(|| format!("bringing up {}", kind.name()))?;
        Ok(network)
    }

    /// A new connection: the sender's socket and the receiver's.
    pub fn connect(&self, delay: Delay) -> Result<(TcpStream, TcpStream)> {
        let address = if self.ends.is_some() {
            ENDS[1]
        } else {
            Ipv4Addr::LOCALHOST
        };
        let listener = self.at(1, || {
            TcpListener::bind((IpAddr::from(address), 0)).context("listening")
        })?;
        let to = listener.local_addr()?;
        let sender = self.at(0, || TcpStream::connect(to).context("connecting"))?;
        let (receiver, _) = listener.accept().context("accepting")?;
        // A kernel without it keeps its default, which the page names.
        let _ = set_tcp_congestion(&sender, CONGESTION);
        set_tcp_nodelay(&sender, delay == Delay::None)?;
        set_tcp_cork(&sender, delay == Delay::Corked)?;
        Ok((sender, receiver))
    }

    /// Connects the namespaces by a pair of devices, sets their features, gives addresses, and puts them up.
    fn plug(&self) -> Result<()> {
        let Some(ends) = &self.ends else {
            return Ok(());
        };
        // The descriptors are this process's, and `ip` is its child: it finds them under the parent's number.
        let other = format!(
            "/proc/{}/fd/{}",
            std::process::id(),
            std::os::fd::AsRawFd::as_raw_fd(&ends[1])
        );
        let [here, there] = DEVICES;
        self.at(0, || {
            ip(&[
                "link", "add", here, "type", "veth", "peer", "name", there, "netns", &other,
            ])
        })?;
        for (end, (device, address)) in DEVICES.iter().zip(ENDS).enumerate() {
            self.at(end, || {
                let socket = TcpListener::bind("0.0.0.0:0").context("opening a socket")?;
                for feature in self.kind.off() {
                    raw::set_feature(&socket, device, *feature, false)
                        .with_context(|| format!("turning off {feature:?}"))?;
                }
                ip(&["address", "add", &format!("{address}/30"), "dev", device])?;
                ip(&["link", "set", device, "up"])
            })?;
        }
        Ok(())
    }

    /// Does something in the namespace of one end, on a thread that ends with it: namespaces belong to threads.
    fn at<T: Send>(&self, end: usize, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        let Some(ends) = &self.ends else {
            return work();
        };
        let enter = || {
            move_into_link_name_space(ends[end].as_fd(), Some(LinkNameSpaceType::Network))
                .context("entering a network namespace")
        };
        on_new_thread(|| enter().and_then(|()| work()))
    }
}

/// A new network namespace, kept by its descriptor.
fn new_namespace() -> Result<File> {
    on_new_thread(|| {
        raw::unshare(UnshareFlags::NEWNET).context("making a network namespace")?;
        File::open("/proc/thread-self/ns/net").context("keeping a network namespace")
    })
}

/// Runs `work` on a thread of its own.
pub fn on_new_thread<T: Send>(work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    thread::scope(|scope| {
        scope
            .spawn(work)
            .join()
            .map_err(|_| anyhow::anyhow!("a thread panicked"))?
    })
}

fn ip(arguments: &[&str]) -> Result<()> {
    let run = Command::new("ip")
        .args(arguments)
        .output()
        .context("running ip (iproute2)")?;
    let error = String::from_utf8_lossy(&run.stderr);
    ensure!(
        run.status.success(),
        "ip {}: {}",
        arguments.join(" "),
        error.trim()
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use super::*;

    #[test]
    fn each_network_carries_bytes_between_its_ends() {
        for kind in Kind::ALL {
            let network = match Network::up(kind) {
                Ok(network) => network,
                Err(error) => {
                    println!("skipped: {}: {error:#}", kind.name());
                    assert!(kind != Kind::Loopback, "{error:#}");
                    continue;
                }
            };
            let (mut sender, mut receiver) = network.connect(Delay::None).unwrap();
            sender.write_all(b"hello").unwrap();
            drop(sender);
            let mut received = String::new();
            receiver.read_to_string(&mut received).unwrap();
            assert_eq!(received, "hello");
        }
    }
}
