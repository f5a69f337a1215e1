//! Bounded event queues: a subscriber that never reads costs a fixed amount of memory and delays nobody.
//!
//! An ordinary subscriber loses the oldest events and is told how many. The critical queue, of which a
//! session has one, gives up events in this order: the oldest that is not critical; then the oldest that
//! the newest supersedes, being of the same name (and device). So whatever happened last to the guest
//! is always there: a guest that resets in a loop can hide its own earlier resets, and nothing else.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
};

use tokio::sync::Notify;

use crate::{Event, is_critical};

/// Events that one subscriber may be behind.
const DEPTH: usize = 256;
const CRITICAL_DEPTH: usize = 1024;

/// What a subscriber gets.
#[derive(Debug, Clone)]
pub enum Delivery {
    /// The next event.
    Event(Arc<Event>),
    /// This many were dropped here, since the subscriber was too slow.
    Missed(u64),
}

/// A subscription. Ends (`None`) when the session has ended and everything is read.
#[derive(Debug)]
pub struct Events {
    queue: Arc<Queue>,
}

impl Events {
    /// The next delivery, in order. Safe to cancel.
    pub async fn next(&mut self) -> Option<Delivery> {
        loop {
            if let Some(answer) = self.try_next() {
                return answer;
            }
            // One reader a queue: `notify_one` keeps a permit, so nothing is lost in between.
            self.queue.notify.notified().await;
        }
    }

    /// The next event, passing over what was missed. For callers that keep up.
    pub async fn next_event(&mut self) -> Option<Arc<Event>> {
        loop {
            if let Delivery::Event(event) = self.next().await? {
                return Some(event);
            }
        }
    }

    fn try_next(&mut self) -> Option<Option<Delivery>> {
        let mut state = self.queue.lock();
        let missed = std::mem::take(&mut state.missed);
        if missed > 0 {
            return Some(Some(Delivery::Missed(missed)));
        }
        match state.events.pop_front() {
            Some(event) => Some(Some(Delivery::Event(event))),
            None if state.ended => Some(None),
            None => None,
        }
    }
}

#[derive(Debug)]
struct Queue {
    critical: bool,
    depth: usize,
    state: Mutex<State>,
    notify: Notify,
}

#[derive(Debug, Default)]
struct State {
    events: VecDeque<Arc<Event>>,
    missed: u64,
    ended: bool,
}

impl Queue {
    fn new(critical: bool, depth: usize) -> Arc<Self> {
        Arc::new(Self {
            critical,
            depth,
            state: Mutex::default(),
            notify: Notify::new(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, event: &Arc<Event>) {
        let mut state = self.lock();
        state.events.push_back(Arc::clone(event));
        if state.events.len() > self.depth {
            let index = if self.critical {
                least_wanted(&state.events)
            } else {
                0
            };
            state.events.remove(index);
            state.missed += 1;
        }
        drop(state);
        self.notify.notify_one();
    }

    fn end(&self) {
        self.lock().ended = true;
        self.notify.notify_one();
    }
}

/// Which event of a full critical queue goes, now that the last one has come.
fn least_wanted(events: &VecDeque<Arc<Event>>) -> usize {
    let unimportant = events.iter().position(|event| !is_critical(&event.name));
    let superseded = || {
        let (newest, index) = (events.back()?, events.len() - 1);
        let mut older = events.iter().take(index);
        older.position(|event| key(event) == key(newest))
    };
    // More failing devices than the queue is deep, each its own key: the oldest of those.
    let failing_disk = || {
        events
            .iter()
            .position(|event| event.name == "BLOCK_IO_ERROR")
    };
    unimportant
        .or_else(superseded)
        .or_else(failing_disk)
        .unwrap_or(0)
}

/// Two events with one key say the same of the same thing.
fn key(event: &Event) -> (&str, Option<&str>, Option<&str>) {
    let text = |name: &str| event.data.get(name).and_then(|value| value.as_str());
    match event.name.as_str() {
        "BLOCK_IO_ERROR" => (&event.name, text("device"), text("node-name")),
        name => (name, None, None),
    }
}

/// All queues of one session.
#[derive(Debug)]
pub(crate) struct Hub {
    /// Made with the session, so that it also has what came before somebody took it.
    critical: Arc<Queue>,
    subscribers: Mutex<Subscribers>,
}

#[derive(Debug, Default)]
struct Subscribers {
    queues: Vec<Weak<Queue>>,
    critical_taken: bool,
    ended: bool,
}

impl Hub {
    pub(crate) fn new() -> Self {
        Self {
            critical: Queue::new(true, CRITICAL_DEPTH),
            subscribers: Mutex::default(),
        }
    }

    pub(crate) fn subscribe(&self) -> Events {
        let queue = Queue::new(false, DEPTH);
        let mut subscribers = self.lock();
        if subscribers.ended {
            queue.end();
        }
        subscribers.queues.retain(|queue| queue.strong_count() > 0);
        subscribers.queues.push(Arc::downgrade(&queue));
        Events { queue }
    }

    pub(crate) fn take_critical(&self) -> Option<Events> {
        let mut subscribers = self.lock();
        if std::mem::replace(&mut subscribers.critical_taken, true) {
            return None;
        }
        Some(Events {
            queue: Arc::clone(&self.critical),
        })
    }

    pub(crate) fn publish(&self, event: Event) {
        let event = Arc::new(event);
        self.critical.push(&event);
        self.lock().queues.retain(|queue| {
            queue.upgrade().is_some_and(|queue| {
                queue.push(&event);
                true
            })
        });
    }

    pub(crate) fn end(&self) {
        self.critical.end();
        let mut subscribers = self.lock();
        subscribers.ended = true;
        for queue in subscribers.queues.drain(..) {
            if let Some(queue) = queue.upgrade() {
                queue.end();
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Subscribers> {
        self.subscribers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn event(name: &str, device: &str) -> Event {
        let object = json!({"event": name, "data": {"device": device}});
        Event::from_object(object.as_object().expect("object").clone()).expect("event")
    }

    fn drain(events: &mut Events) -> (Vec<String>, u64) {
        let (mut names, mut lost) = (Vec::new(), 0);
        while let Some(Some(delivery)) = events.try_next() {
            match delivery {
                Delivery::Event(event) => names.push(event.name.clone()),
                Delivery::Missed(count) => lost += count,
            }
        }
        (names, lost)
    }

    #[test]
    fn an_ordinary_subscriber_lags_and_is_told() {
        let hub = Hub::new();
        let mut events = hub.subscribe();
        for _ in 0..DEPTH + 10 {
            hub.publish(event("RTC_CHANGE", ""));
        }
        assert_eq!(drain(&mut events).1, 10);
        hub.end();
        assert!(matches!(events.try_next(), Some(None)));
        assert!(matches!(hub.subscribe().try_next(), Some(None)));
    }

    #[test]
    fn the_critical_queue_gives_up_the_unimportant_first() {
        let hub = Hub::new();
        hub.publish(event("GUEST_PANICKED", ""));
        for _ in 0..5 * CRITICAL_DEPTH {
            hub.publish(event("RTC_CHANGE", ""));
        }
        hub.publish(event("SHUTDOWN", ""));
        let mut events = hub.take_critical().expect("the first to ask");
        assert!(hub.take_critical().is_none());
        let (names, _) = drain(&mut events);
        assert_eq!(
            (names.len(), names[0].as_str()),
            (CRITICAL_DEPTH, "GUEST_PANICKED")
        );
        assert_eq!(names.last().map(String::as_str), Some("SHUTDOWN"));
    }

    #[test]
    fn a_flood_of_critical_events_hides_only_its_own_past() {
        let hub = Hub::new();
        hub.publish(event("STOP", ""));
        hub.publish(event("BLOCK_IO_ERROR", "a"));
        hub.publish(event("BLOCK_IO_ERROR", "b"));
        for _ in 0..5 * CRITICAL_DEPTH {
            hub.publish(event("RESET", ""));
        }
        let (names, lost) = drain(&mut hub.take_critical().expect("first"));
        assert_eq!(
            &names[..4],
            ["STOP", "BLOCK_IO_ERROR", "BLOCK_IO_ERROR", "RESET"]
        );
        assert_eq!(names.len(), CRITICAL_DEPTH);
        assert_eq!(lost, 4 * CRITICAL_DEPTH as u64 + 3);
    }
}
