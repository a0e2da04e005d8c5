//! Tasks that hold the store: the server has ended once all of them have.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Notify;
use tokio::task::JoinHandle;

/// How many there are. Clones count together.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tasks(Arc<Count>);

#[derive(Debug, Default)]
struct Count {
    running: AtomicUsize,
    none: Notify,
}

/// One of them.
#[derive(Debug)]
struct Running(Arc<Count>);

impl Tasks {
    pub(crate) fn spawn<T: Send + 'static>(
        &self,
        task: impl Future<Output = T> + Send + 'static,
    ) -> JoinHandle<T> {
        let running = self.running();
        tokio::spawn(async move {
            let done = task.await;
            drop(running);
            done
        })
    }

    /// Runs what may block on a thread of its own.
    pub(crate) fn spawn_blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> JoinHandle<T> {
        let running = self.running();
        tokio::task::spawn_blocking(move || {
            let done = work();
            drop(running);
            done
        })
    }

    /// Waits until there is none.
    pub(crate) async fn ended(&self) {
        loop {
            let mut none = pin!(self.0.none.notified());
            // Listened for before it is looked at.
            none.as_mut().enable();
            if self.0.running.load(Ordering::SeqCst) == 0 {
                return;
            }
            none.await;
        }
    }

    fn running(&self) -> Running {
        self.0.running.fetch_add(1, Ordering::SeqCst);
        Running(self.0.clone())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.0.running.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.0.none.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_a_task_held_is_free_once_all_have_ended() {
        let (tasks, held) = (Tasks::default(), Arc::new(()));
        for _ in 0..10 {
            let (of_task, of_work) = (held.clone(), held.clone());
            tasks.spawn(async move {
                tokio::task::yield_now().await;
                drop(of_task);
            });
            tasks.spawn_blocking(move || Arc::strong_count(&of_work));
        }
        // One that panics, or is given up, counts no longer either.
        tasks.spawn(std::future::pending::<()>()).abort();
        tasks.ended().await;
        assert_eq!(Arc::strong_count(&held), 1);
    }
}
