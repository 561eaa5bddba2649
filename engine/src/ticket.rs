//! The handle that a commit gives back: wait on it in a thread, or await it in any runtime.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use parking_lot::{Condvar, Mutex};

struct Shared<T> {
    slot: Mutex<Slot<T>>,
    ready: Condvar,
}

struct Slot<T> {
    answer: Option<T>,
    waker: Option<Waker>,
}

/// Makes the machine go on that will give the answer, where no thread does.
pub(crate) trait Pump: Send + Sync {
    /// One step.
    fn pump(&self);
}

/// An answer that comes when the change is committed (or refused).
#[must_use = "a change that nobody waits for may be refused unseen"]
pub struct Ticket<T> {
    shared: Arc<Shared<T>>,
    pump: Option<Arc<dyn Pump>>,
}

/// The other end of a [`Ticket`], or a call that takes the answer.
pub(crate) struct Promise<T>(To<T>);

enum To<T> {
    Ticket(Arc<Shared<T>>),
    Call(Box<dyn FnOnce(T) + Send>),
}

/// A ticket and what answers it.
pub(crate) fn ticket<T>() -> (Promise<T>, Ticket<T>) {
    let shared = Arc::new(Shared {
        slot: Mutex::new(Slot { answer: None, waker: None }),
        ready: Condvar::new(),
    });
    (Promise(To::Ticket(Arc::clone(&shared))), Ticket { shared, pump: None })
}

impl<T> Ticket<T> {
    /// A ticket that is answered already.
    pub fn answered(answer: T) -> Ticket<T> {
        let (promise, ticket) = ticket();
        promise.answer(answer);
        ticket
    }

    /// The same, and whoever waits for it drives `pump`.
    pub(crate) fn pumped(self, pump: Option<Arc<dyn Pump>>) -> Ticket<T> {
        Ticket { pump, ..self }
    }

    /// The answer, if it is there; else the ticket again.
    pub(crate) fn now(self) -> Result<T, Ticket<T>> {
        let answer = self.shared.slot.lock().answer.take();
        answer.ok_or(self)
    }

    /// Blocks until the answer is there.
    pub fn wait(self) -> T {
        while let Some(pump) = &self.pump {
            if let Some(answer) = self.shared.slot.lock().answer.take() {
                return answer;
            }
            pump.pump();
        }
        let mut slot = self.shared.slot.lock();
        loop {
            if let Some(answer) = slot.answer.take() {
                return answer;
            }
            self.shared.ready.wait(&mut slot);
        }
    }
}

impl<T> Future for Ticket<T> {
    type Output = T;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        let mut slot = self.shared.slot.lock();
        match slot.answer.take() {
            Some(answer) => Poll::Ready(answer),
            None => {
                slot.waker = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }
}

impl<T> Promise<T> {
    /// A promise without a ticket: the answer goes to `call`, in the thread that gives it.
    pub(crate) fn calling(call: impl FnOnce(T) + Send + 'static) -> Promise<T> {
        Promise(To::Call(Box::new(call)))
    }

    /// Gives the answer and wakes whoever waits.
    pub(crate) fn answer(self, answer: T) {
        let shared = match self.0 {
            To::Ticket(shared) => shared,
            To::Call(call) => return call(answer),
        };
        let waker = {
            let mut slot = shared.slot.lock();
            slot.answer = Some(answer);
            slot.waker.take()
        };
        shared.ready.notify_one();
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}
