//! Tasks that hold the store: the server has ended once all of them have.

use tokio::sync::watch;
use tokio::task::JoinHandle;

/// How many there are. Clones count together.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tasks(watch::Sender<usize>);

/// One of them.
#[derive(Debug)]
struct Running(watch::Sender<usize>);

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
        // The sender is here: it cannot be gone.
        let _ = self.0.subscribe().wait_for(|running| *running == 0).await;
    }

    fn running(&self) -> Running {
        self.0.send_modify(|running| *running += 1);
        Running(self.0.clone())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.send_modify(|running| *running -= 1);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

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
