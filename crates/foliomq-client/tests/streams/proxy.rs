//! A network between client and broker that breaks connections, at places that a seed decides.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

pub struct Proxy {
    pub endpoint: String,
    /// Connections that were cut.
    pub cuts: Arc<AtomicUsize>,
    target: Arc<Mutex<String>>,
    trouble: Arc<Trouble>,
    task: JoinHandle<()>,
}

/// What befalls all connections.
#[derive(Default)]
struct Trouble {
    /// What the broker says is lost.
    deaf: AtomicBool,
    cut: Notify,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Proxy {
    /// Cuts the first `cuts` connections after some bytes of their answers, so that what was asked is done and the answer
    /// is lost, or after some bytes of their requests.
    pub async fn start(target: &str, cuts: usize, seed: u64) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = listener.local_addr().unwrap().to_string();
        let target = Arc::new(Mutex::new(target.to_owned()));
        let counter = Arc::new(AtomicUsize::new(0));
        let trouble = Arc::<Trouble>::default();
        let (to, cut, befalls) = (target.clone(), counter.clone(), trouble.clone());
        let task = tokio::spawn(async move {
            let mut random = seed;
            loop {
                let (client, _) = listener.accept().await.unwrap();
                let to = to.lock().clone();
                let Ok(broker) = TcpStream::connect(to).await else {
                    continue;
                };
                let limits = (cut.load(Ordering::Relaxed) < cuts).then(|| {
                    random = random
                        .wrapping_mul(6_364_136_223_846_793_005)
                        .wrapping_add(1);
                    let (up, down) = ((random >> 33) % 60_000, (random >> 45) % 900);
                    if random >> 63 == 0 {
                        (up, u64::MAX)
                    } else {
                        (u64::MAX, 200 + down)
                    }
                });
                let (cut, befalls) = (cut.clone(), befalls.clone());
                tokio::spawn(async move {
                    let (up, down) = limits.unwrap_or((u64::MAX, u64::MAX));
                    let (from_client, to_client) = client.into_split();
                    let (from_broker, to_broker) = broker.into_split();
                    let never = AtomicBool::new(false);
                    tokio::select! {
                        () = forward(from_client, to_broker, up, &never) => {}
                        () = forward(from_broker, to_client, down, &befalls.deaf) => {}
                        () = befalls.cut.notified() => {}
                    }
                    cut.fetch_add(1, Ordering::Relaxed);
                });
            }
        });
        Self {
            endpoint,
            cuts: counter,
            target,
            trouble,
            task,
        }
    }

    /// From now on nothing comes back from the broker, until the connections are cut.
    pub fn deafen(&self) {
        self.trouble.deaf.store(true, Ordering::Relaxed);
    }

    /// Cuts all connections; new ones are good.
    pub fn cut(&self) {
        self.trouble.cut.notify_waiters();
        self.trouble.deaf.store(false, Ordering::Relaxed);
    }

    /// Where new connections go.
    pub fn redirect(&self, target: &str) {
        *self.target.lock() = target.to_owned();
    }
}

/// Ends after so many bytes, or when either side does.
async fn forward(
    mut from: impl AsyncReadExt + Unpin,
    mut to: impl AsyncWriteExt + Unpin,
    mut left: u64,
    deaf: &AtomicBool,
) {
    let mut buffer = vec![0; 8 << 10];
    while left > 0 {
        let most = buffer
            .len()
            .min(usize::try_from(left).unwrap_or(usize::MAX));
        match from.read(&mut buffer[..most]).await {
            Ok(read) if read > 0 && deaf.load(Ordering::Relaxed) => {}
            Ok(read) if read > 0 && to.write_all(&buffer[..read]).await.is_ok() => {
                left -= read as u64;
            }
            _ => return,
        }
    }
}
