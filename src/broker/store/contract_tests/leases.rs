//! Leases and freezes.

use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

use super::{
    LONG_LEASE, PATIENCE, SHORT_LEASE, Testbed, binding, instance, is_lost, made_up, put, row, take,
    take_when_free,
};
use crate::{
    broker::store::{Change, Renewal, State, Store, Then},
    osb::InstanceId,
};

/// How long a test waits to see that something does not happen.
const A_WHILE: Duration = Duration::from_millis(300);

pub(crate) async fn an_instance_has_one_lease_and_other_instances_are_free<T: Testbed>() {
    let bed = T::new().await;
    let (one, two) = (bed.open(LONG_LEASE).await, bed.open(LONG_LEASE).await);
    let i: InstanceId = "i".into();
    let lease = take(&one, &i).await;
    assert_eq!(one.acquire(&i).await.unwrap(), None);
    assert_eq!(two.acquire(&i).await.unwrap(), None);
    take(&two, &"j".into()).await;
    one.release(&lease).await.unwrap();
    let next = take(&two, &i).await;
    assert_ne!(next.token, lease.token);
    assert_eq!(one.acquire(&i).await.unwrap(), None);
}

pub(crate) async fn a_released_lease_is_lost<T: Testbed>() {
    let bed = T::new().await;
    let store = bed.open(LONG_LEASE).await;
    let lease = take(&store, &"i".into()).await;
    assert_eq!(store.renew(&lease).await.unwrap(), Renewal::Renewed { interrupted: false });
    store.release(&lease).await.unwrap();
    store.release(&lease).await.unwrap();
    assert_eq!(store.renew(&lease).await.unwrap(), Renewal::Lost);
    assert_eq!(store.renew(&made_up(&"never".into())).await.unwrap(), Renewal::Lost);
}

pub(crate) async fn only_its_holder_can_release_a_lease<T: Testbed>() {
    let bed = T::new().await;
    let store = bed.open(LONG_LEASE).await;
    let i: InstanceId = "i".into();
    let former = take(&store, &i).await;
    store.release(&former).await.unwrap();
    let lease = take(&store, &i).await;
    for other in [former, made_up(&i)] {
        store.release(&other).await.unwrap();
        assert_eq!(store.renew(&other).await.unwrap(), Renewal::Lost);
    }
    assert_eq!(store.renew(&lease).await.unwrap(), Renewal::Renewed { interrupted: false });
    assert_eq!(store.acquire(&i).await.unwrap(), None);
}

pub(crate) async fn other_processes_can_commit_under_a_current_lease<T: Testbed>() {
    let bed = T::new().await;
    let (one, two) = (bed.open(LONG_LEASE).await, bed.open(LONG_LEASE).await);
    let (i, b) = (instance("i"), binding("i", "b"));
    assert_eq!(two.current_lease(&i.instance).await.unwrap(), None);
    let lease = take(&one, &i.instance).await;
    for store in [&one, &two] {
        assert_eq!(store.current_lease(&i.instance).await.unwrap(), Some(lease.clone()));
    }
    two.commit(&lease, vec![put(&b, "beside")], Then::Keep).await.unwrap();
    one.commit(&lease, vec![put(&i, "own")], Then::Release).await.unwrap();
    assert_eq!(two.current_lease(&i.instance).await.unwrap(), None);
    assert!(is_lost(&two.commit(&lease, vec![Change::Remove(b.clone())], Then::Keep).await));
    assert_eq!(one.row(&b).await.unwrap(), Some(row(&b, State::Ready, "beside")));
}

pub(crate) async fn a_commit_without_the_lease_changes_nothing<T: Testbed>() {
    let bed = T::new().await;
    let store = bed.open(LONG_LEASE).await;
    let (i, b) = (instance("i"), binding("i", "b"));
    let former = take(&store, &i.instance).await;
    store.commit(&former, vec![put(&i, "kept")], Then::Release).await.unwrap();
    let changes = || {
        let tombstone = Change::Tombstone(i.clone(), "operation".to_owned());
        vec![put(&b, "late"), tombstone, Change::Remove(i.clone())]
    };
    for then in [Then::Keep, Then::Release] {
        assert!(is_lost(&store.commit(&former, changes(), then).await), "nobody holds it");
    }
    let lease = take(&store, &i.instance).await;
    for other in [&former, &made_up(&i.instance)] {
        for then in [Then::Keep, Then::Release] {
            assert!(is_lost(&store.commit(other, changes(), then).await), "somebody else holds it");
        }
    }
    assert!(is_lost(&store.commit(&former, Vec::new(), Then::Keep).await), "without changes");
    assert_eq!(store.row(&i).await.unwrap(), Some(row(&i, State::Ready, "kept")));
    assert_eq!(store.row(&b).await.unwrap(), None);
    assert_eq!(store.tombstone(&i).await.unwrap(), None);
    assert_eq!(store.renew(&lease).await.unwrap(), Renewal::Renewed { interrupted: false });
}

pub(crate) async fn a_commit_keeps_or_releases_the_lease<T: Testbed>() {
    let bed = T::new().await;
    let (one, two) = (bed.open(LONG_LEASE).await, bed.open(LONG_LEASE).await);
    let i = instance("i");
    let lease = take(&one, &i.instance).await;
    one.commit(&lease, vec![put(&i, "1")], Then::Keep).await.unwrap();
    assert_eq!(two.row(&i).await.unwrap(), Some(row(&i, State::Ready, "1")));
    assert_eq!(two.acquire(&i.instance).await.unwrap(), None);
    one.commit(&lease, vec![put(&i, "2")], Then::Release).await.unwrap();
    let next = take(&two, &i.instance).await;
    assert!(is_lost(&one.commit(&lease, vec![put(&i, "3")], Then::Release).await));
    assert_eq!(two.row(&i).await.unwrap(), Some(row(&i, State::Ready, "2")));
    assert_eq!(two.renew(&next).await.unwrap(), Renewal::Renewed { interrupted: false });
}

pub(crate) async fn a_released_instance_is_free_although_it_is_recorded<T: Testbed>() {
    let bed = T::new().await;
    let store = bed.open(LONG_LEASE).await;
    let i = instance("i");
    for content in ["1", "2", "3"] {
        let lease = take(&store, &i.instance).await;
        store.commit(&lease, vec![put(&i, content)], Then::Keep).await.unwrap();
        store.release(&lease).await.unwrap();
    }
    assert_eq!(store.row(&i).await.unwrap(), Some(row(&i, State::Ready, "3")));
}

/// Concurrent read-modify-write increments lose nothing, because only one caller at a time has the lease.
pub(crate) async fn leases_of_one_instance_are_exclusive<T: Testbed>() {
    const HOLDERS: usize = 6;
    const TURNS: usize = 5;
    let bed = T::new().await;
    let mut holders = tokio::task::JoinSet::new();
    for _ in 0..HOLDERS {
        let store = bed.open(LONG_LEASE).await;
        holders.spawn(async move {
            let i = instance("i");
            for turn in 0..TURNS {
                let lease = take_when_free(&store, &i.instance).await;
                let found = store.row(&i).await.unwrap();
                let count: usize =
                    found.map_or(0, |row| String::from_utf8(row.sealed.bytes).unwrap().parse().unwrap());
                let changes = vec![put(&i, &(count + 1).to_string())];
                if turn % 2 == 0 {
                    store.commit(&lease, changes, Then::Release).await.unwrap();
                } else {
                    store.commit(&lease, changes, Then::Keep).await.unwrap();
                    store.release(&lease).await.unwrap();
                }
            }
        });
    }
    holders.join_all().await;
    let counted = bed.open(LONG_LEASE).await.row(&instance("i")).await.unwrap();
    assert_eq!(counted, Some(row(&instance("i"), State::Ready, &(HOLDERS * TURNS).to_string())));
}

pub(crate) async fn a_renewal_reports_an_interruption<T: Testbed>() {
    let bed = T::new().await;
    let (one, two) = (bed.open(LONG_LEASE).await, bed.open(LONG_LEASE).await);
    let (i, j): (InstanceId, InstanceId) = ("i".into(), "j".into());
    two.interrupt(&i).await.unwrap();
    let lease = take(&one, &i).await;
    let other = take(&one, &j).await;
    assert_eq!(one.renew(&lease).await.unwrap(), Renewal::Renewed { interrupted: false });
    two.interrupt(&i).await.unwrap();
    two.interrupt(&i).await.unwrap();
    assert_eq!(one.renew(&lease).await.unwrap(), Renewal::Renewed { interrupted: true });
    assert_eq!(one.renew(&lease).await.unwrap(), Renewal::Renewed { interrupted: true });
    assert_eq!(one.renew(&other).await.unwrap(), Renewal::Renewed { interrupted: false });
    one.commit(&lease, vec![put(&instance("i"), "")], Then::Release).await.unwrap();
    let next = take(&two, &i).await;
    assert_eq!(two.renew(&next).await.unwrap(), Renewal::Renewed { interrupted: false });
}

pub(crate) async fn no_lease_is_granted_while_frozen<T: Testbed>() {
    let bed = T::new().await;
    let (one, two) = (bed.open(LONG_LEASE).await, bed.open(LONG_LEASE).await);
    let i = instance("i");
    super::change(&one, "i", vec![put(&i, "1")]).await;
    let frozen = two.freeze().await.unwrap();
    for store in [&one, &two] {
        assert_eq!(store.acquire(&i.instance).await.unwrap(), None);
        assert_eq!(store.acquire(&"new".into()).await.unwrap(), None);
        assert_eq!(store.row(&i).await.unwrap(), Some(row(&i, State::Ready, "1")), "reading goes on");
    }
    assert!(is_lost(&one.commit(&made_up(&i.instance), vec![put(&i, "2")], Then::Keep).await));
    drop(frozen);
    let lease = take_when_free(&one, &i.instance).await;
    one.commit(&lease, vec![put(&i, "3")], Then::Release).await.unwrap();
}

pub(crate) async fn a_freeze_waits_for_leases<T: Testbed>() {
    let bed = T::new().await;
    let (one, two) = (bed.open(LONG_LEASE).await, bed.open(LONG_LEASE).await);
    let i = instance("i");
    let lease = take(&one, &i.instance).await;
    let mut freezing = Box::pin(two.freeze());
    assert!(timeout(A_WHILE, &mut freezing).await.is_err(), "it is held");
    one.commit(&lease, vec![put(&i, "1")], Then::Keep).await.unwrap();
    assert_eq!(one.renew(&lease).await.unwrap(), Renewal::Renewed { interrupted: false });
    one.release(&lease).await.unwrap();
    let frozen = timeout(PATIENCE, freezing).await.unwrap().unwrap();
    assert_eq!(two.row(&i).await.unwrap(), Some(row(&i, State::Ready, "1")), "what was held is seen");
    assert_eq!(one.acquire(&i.instance).await.unwrap(), None);
    drop(frozen);
    take_when_free(&one, &i.instance).await;
}

/// A freeze waits for leases that were granted before it, and prevents new ones.
pub(crate) async fn nothing_is_committed_while_frozen<T: Testbed>() {
    const WORKERS: usize = 4;
    let bed = T::new().await;
    let mut workers = tokio::task::JoinSet::new();
    for worker in 0..WORKERS {
        let store = bed.open(LONG_LEASE).await;
        workers.spawn(async move {
            let i = instance(&worker.to_string());
            for turn in 0.. {
                let lease = take_when_free(&store, &i.instance).await;
                store.commit(&lease, vec![put(&i, &turn.to_string())], Then::Release).await.unwrap();
            }
        });
    }
    let sweep = bed.open(LONG_LEASE).await;
    let all_work = async {
        while sweep.instances().await.unwrap().len() < WORKERS {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, all_work).await.unwrap();
    for _ in 0..5 {
        let frozen = timeout(PATIENCE, sweep.freeze()).await.unwrap().unwrap();
        let before = sweep.instances().await.unwrap();
        sleep(A_WHILE / 3).await;
        assert_eq!(sweep.instances().await.unwrap(), before);
        drop(frozen);
        let goes_on = async {
            while sweep.instances().await.unwrap() == before {
                sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(PATIENCE, goes_on).await.unwrap();
    }
    workers.abort_all();
}

/// A caller that stops waiting for a freeze leaves nothing frozen, and of two freezes neither ends the other.
pub(crate) async fn two_freeze_one_after_the_other_or_at_once<T: Testbed>() {
    let bed = T::new().await;
    let (one, two) = (bed.open(SHORT_LEASE).await, bed.open(SHORT_LEASE).await);
    let i: InstanceId = "i".into();
    let lease = take(&one, &i).await;
    assert!(timeout(A_WHILE / 3, two.freeze()).await.is_err(), "it is held");
    one.release(&lease).await.unwrap();
    let lease = take_when_free(&one, &i).await;
    one.release(&lease).await.unwrap();

    let first = timeout(PATIENCE, one.freeze()).await.unwrap().unwrap();
    let mut second = Box::pin(two.freeze());
    let early = timeout(A_WHILE, &mut second).await;
    drop(first);
    let second = match early {
        Ok(frozen) => frozen.unwrap(),
        Err(_) => timeout(PATIENCE, second).await.unwrap().unwrap(),
    };
    assert_eq!(one.acquire(&i).await.unwrap(), None);
    drop(second);
    take_when_free(&one, &i).await;
}

pub(crate) async fn a_lease_expires_unless_it_is_renewed<T: Testbed>() {
    let bed = T::new().await;
    let (one, two) = (bed.open(SHORT_LEASE).await, bed.open(SHORT_LEASE).await);
    let i = instance("i");
    let lease = take(&one, &i.instance).await;
    let Some(duration) = one.lease_duration() else {
        sleep(SHORT_LEASE).await;
        assert_eq!(two.acquire(&i.instance).await.unwrap(), None, "it cannot be lost");
        return;
    };
    assert_eq!(duration, SHORT_LEASE);
    one.commit(&lease, vec![put(&i, "1")], Then::Keep).await.unwrap();
    two.interrupt(&i.instance).await.unwrap();
    let next = take_when_free(&two, &i.instance).await;
    assert_ne!(next.token, lease.token);
    assert_eq!(
        two.renew(&next).await.unwrap(),
        Renewal::Renewed { interrupted: false },
        "that was the former"
    );
    assert_eq!(one.renew(&lease).await.unwrap(), Renewal::Lost);
    assert!(is_lost(&one.commit(&lease, vec![put(&i, "late")], Then::Release).await));
    one.release(&lease).await.unwrap();
    assert_eq!(two.row(&i).await.unwrap(), Some(row(&i, State::Ready, "1")));
    two.commit(&next, vec![put(&i, "2")], Then::Release).await.unwrap();
}

pub(crate) async fn a_renewed_lease_stays_valid<T: Testbed>() {
    let bed = T::new().await;
    // Long enough that the lease does not expire on a busy machine.
    let duration = SHORT_LEASE * 4;
    let (one, two) = (bed.open(duration).await, bed.open(duration).await);
    let i = instance("i");
    let lease = take(&one, &i.instance).await;
    let end = Instant::now() + duration * 3 / 2;
    while Instant::now() < end {
        assert_eq!(one.renew(&lease).await.unwrap(), Renewal::Renewed { interrupted: false });
        assert_eq!(two.acquire(&i.instance).await.unwrap(), None);
        sleep(duration / 8).await;
    }
    one.commit(&lease, vec![put(&i, "1")], Then::Release).await.unwrap();
}

pub(crate) async fn freezing_does_not_wait_for_the_dead<T: Testbed>() {
    let bed = T::new().await;
    let (one, two) = (bed.open(SHORT_LEASE).await, bed.open(SHORT_LEASE).await);
    if one.lease_duration().is_none() {
        return;
    }
    let i = instance("i");
    let lease = take(&one, &i.instance).await;
    let frozen = timeout(PATIENCE, two.freeze()).await.unwrap().unwrap();
    assert!(is_lost(&one.commit(&lease, vec![put(&i, "late")], Then::Release).await));
    assert_eq!(one.renew(&lease).await.unwrap(), Renewal::Lost, "or it would be held in the frozen store");
    drop(frozen);
}

pub(crate) async fn a_freeze_lasts_until_it_is_dropped<T: Testbed>() {
    let bed = T::new().await;
    let (one, two) = (bed.open(SHORT_LEASE).await, bed.open(SHORT_LEASE).await);
    let i: InstanceId = "i".into();
    let frozen = two.freeze().await.unwrap();
    let end = Instant::now() + SHORT_LEASE * 3;
    while Instant::now() < end {
        assert_eq!(one.acquire(&i).await.unwrap(), None);
        sleep(SHORT_LEASE / 8).await;
    }
    drop(frozen);
    take_when_free(&one, &i).await;
}
