//! The open connections of a server, so that idle ones can make room for new ones. The peer with the most connections
//! loses its longest-idle one, so a client with many connections takes none from others. A connection that answers a
//! request is never closed here.

use std::{
    net::IpAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{sync::Notify, time::Instant};
use tokio_util::sync::CancellationToken;

/// The open connections of a server. Clones share them.
#[derive(Clone)]
pub(super) struct Roster(Arc<Shared>);

struct Shared {
    began: Instant,
    open: Mutex<Vec<Arc<Entry>>>,
    /// Notified when a connection becomes idle or ends.
    changed: Notify,
}

struct Entry {
    peer: IpAddr,
    /// How many requests the connection is answering.
    requests: AtomicUsize,
    /// Since when the connection is idle, in milliseconds after the server's start.
    idle_since: AtomicU64,
    /// Whether the connection has had a request.
    has_asked: AtomicBool,
    /// Cancelled when the connection must make room.
    given_up: CancellationToken,
}

/// A connection is late if its first request has not come after this many milliseconds.
const LATE_AFTER: u64 = 1000;

/// Whether a new connection may be accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Room {
    /// It may, possibly because an idle connection was just closed.
    Made,
    /// The peer has its maximum of connections, and all of them are busy.
    PeerIsBusy,
}

impl Roster {
    pub(super) fn new() -> Self {
        let (open, changed) = (Mutex::default(), Notify::new());
        Self(Arc::new(Shared { began: Instant::now(), open, changed }))
    }

    /// Whether no connection may be accepted, because `most` exist and all are busy.
    pub(super) fn is_busy(&self, most: usize) -> bool {
        let open = self.open();
        kept(&open).count() >= most && !kept(&open).any(|entry| entry.is_idle())
    }

    /// Waits until a connection becomes idle or ends.
    pub(super) async fn changed(&self) {
        self.0.changed.notified().await;
    }

    /// Makes room for a connection of this peer, with the limits `most` for all peers and `most_of_peer` for one.
    pub(super) fn make_room(&self, peer: IpAddr, most: usize, most_of_peer: usize) -> Room {
        let open = self.open();
        if kept(&open).filter(|entry| entry.peer == peer).count() >= most_of_peer {
            return match longest_idle(self.now(), kept(&open).filter(|entry| entry.peer == peer)) {
                Some(entry) => entry.give_up(),
                None => Room::PeerIsBusy,
            };
        }
        if kept(&open).count() < most {
            return Room::Made;
        }
        largest_idle(self.now(), &open).map_or(Room::Made, |entry| entry.give_up())
    }

    /// Closes an idle connection because file descriptors are exhausted.
    pub(super) fn shed(&self) {
        if let Some(entry) = largest_idle(self.now(), &self.open()) {
            entry.give_up();
        }
    }

    /// Adds a connection.
    pub(super) fn enter(&self, peer: IpAddr) -> Place {
        let entry = Arc::new(Entry {
            peer,
            requests: AtomicUsize::new(0),
            idle_since: AtomicU64::new(self.now()),
            has_asked: AtomicBool::new(false),
            given_up: CancellationToken::new(),
        });
        self.open().push(entry.clone());
        Place { roster: self.clone(), entry }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.0.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn open(&self) -> MutexGuard<'_, Vec<Arc<Entry>>> {
        // Nothing panics while it holds the lock, and the list stays consistent after any panic.
        self.0.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The connections that have not been told to make room.
fn kept(open: &[Arc<Entry>]) -> impl Iterator<Item = &Arc<Entry>> {
    open.iter().filter(|entry| !entry.given_up.is_cancelled())
}

/// The longest-idle connection of the peer with the most connections among those that have an idle one.
fn largest_idle(now: u64, open: &[Arc<Entry>]) -> Option<&Arc<Entry>> {
    let mut counts = std::collections::HashMap::new();
    for entry in kept(open) {
        *counts.entry(entry.peer).or_insert(0_usize) += 1;
    }
    let idle = || kept(open).filter(|entry| entry.is_idle());
    let most = idle().filter_map(|entry| counts.get(&entry.peer)).max()?;
    longest_idle(now, idle().filter(|entry| counts.get(&entry.peer) == Some(most)))
}

/// The longest-idle connection. One that is late with its first request comes before the others.
fn longest_idle<'a>(now: u64, entries: impl Iterator<Item = &'a Arc<Entry>>) -> Option<&'a Arc<Entry>> {
    let rank = |entry: &Entry| {
        let since = entry.idle_since.load(Ordering::Relaxed);
        let is_late = !entry.has_asked.load(Ordering::Relaxed) && now.saturating_sub(since) >= LATE_AFTER;
        (!is_late, since)
    };
    entries.filter(|entry| entry.is_idle()).min_by_key(|entry| rank(entry))
}

impl Entry {
    fn is_idle(&self) -> bool {
        self.requests.load(Ordering::Relaxed) == 0
    }

    fn give_up(&self) -> Room {
        self.given_up.cancel();
        Room::Made
    }
}

/// A connection's entry in the roster, removed when this is dropped.
pub(super) struct Place {
    roster: Roster,
    entry: Arc<Entry>,
}

impl Place {
    /// Cancelled when the connection must make room.
    pub(super) fn given_up(&self) -> CancellationToken {
        self.entry.given_up.clone()
    }

    /// The counter of its requests.
    pub(super) fn requests(&self) -> Requests {
        Requests { roster: self.roster.clone(), entry: self.entry.clone() }
    }

    /// Whether it is answering no request.
    pub(super) fn is_idle(&self) -> bool {
        self.entry.is_idle()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.roster.open().retain(|entry| !Arc::ptr_eq(entry, &self.entry));
        self.roster.0.changed.notify_one();
    }
}

/// Counts a connection's requests.
#[derive(Clone)]
pub(super) struct Requests {
    roster: Roster,
    entry: Arc<Entry>,
}

impl Requests {
    /// Counts a request until the returned guard is dropped.
    pub(super) fn begin(&self) -> Request {
        self.entry.has_asked.store(true, Ordering::Relaxed);
        self.entry.requests.fetch_add(1, Ordering::Relaxed);
        Request(self.clone())
    }
}

/// A request that is being answered.
pub(super) struct Request(Requests);

impl Drop for Request {
    fn drop(&mut self) {
        let Requests { roster, entry } = &self.0;
        entry.idle_since.store(roster.now(), Ordering::Relaxed);
        if entry.requests.fetch_sub(1, Ordering::Relaxed) == 1 {
            roster.0.changed.notify_one();
        }
    }
}

/// How long a closing connection may take to tell its client.
pub(super) const FAREWELL: Duration = Duration::from_millis(250);

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(number: u8) -> IpAddr {
        [10, 0, 0, number].into()
    }

    fn enter(roster: &Roster, number: u8) -> Place {
        assert_eq!(roster.make_room(peer(number), 6, 4), Room::Made);
        roster.enter(peer(number))
    }

    fn has_gone(place: &Place) -> bool {
        place.given_up().is_cancelled()
    }

    #[tokio::test(start_paused = true)]
    async fn the_peer_with_the_most_connections_makes_room() {
        let roster = Roster::new();
        let server = enter(&roster, 1);
        drop(server.requests().begin());
        let mut others = Vec::new();
        for number in [2, 2, 2, 3, 4] {
            tokio::time::advance(Duration::from_secs(1)).await;
            others.push(enter(&roster, number));
        }
        let late = enter(&roster, 5);
        assert!(has_gone(&others[0]) && !has_gone(&others[1]) && !has_gone(&server));
        let later = enter(&roster, 6);
        assert!(has_gone(&others[1]) && !has_gone(&others[2]) && !has_gone(&server));
        // Among peers with one connection each, a connection without any request goes first.
        let last = enter(&roster, 7);
        assert!(has_gone(&others[2]) && !has_gone(&server) && !has_gone(&late));
        drop((later, last));
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_makes_room_for_itself_and_a_busy_one_gets_no_more() {
        let roster = Roster::new();
        let places: Vec<Place> = (0..4).map(|_| enter(&roster, 1)).collect();
        let answering: Vec<Request> = places[1..].iter().map(|place| place.requests().begin()).collect();
        let fifth = enter(&roster, 1);
        assert!(has_gone(&places[0]) && places[1..].iter().all(|place| !has_gone(place)));
        let _answered = fifth.requests().begin();
        assert_eq!(roster.make_room(peer(1), 6, 4), Room::PeerIsBusy);
        assert_eq!(roster.make_room(peer(2), 6, 4), Room::Made);
        drop(answering);
        assert_eq!(roster.make_room(peer(1), 6, 4), Room::Made);
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_accepted_while_all_connections_are_busy() {
        let roster = Roster::new();
        let places = [enter(&roster, 1), enter(&roster, 2)];
        assert!(!roster.is_busy(2));
        let mut answering: Vec<Request> = places.iter().map(|place| place.requests().begin()).collect();
        assert!(roster.is_busy(2) && !roster.is_busy(3));
        answering.pop();
        roster.changed().await;
        assert!(!roster.is_busy(2));
        let ends = tokio::spawn(async move { drop(places) });
        roster.changed().await;
        ends.await.unwrap();
        assert!(!roster.is_busy(2));
    }
}
