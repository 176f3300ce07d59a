//! Group commit: commits that arrive during a disk write share the next transaction, and thus its wait for the disk.
//! Each commit is still atomic by itself.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rusqlite::{Connection, Transaction, TransactionBehavior};
use tokio::sync::oneshot;

use crate::broker::store::Change;

/// The writing connection, and the commits that wait for it.
pub(super) struct Writer {
    connection: Mutex<Connection>,
    waiting: Mutex<Vec<Commit>>,
}

/// Changes to make together, and what to do once they are durable.
struct Commit {
    changes: Vec<Change>,
    then: Box<dyn FnOnce() + Send>,
    reply: oneshot::Sender<Result<(), Arc<rusqlite::Error>>>,
}

/// Applies a change in the open transaction.
type Make = fn(&Connection, &Change) -> rusqlite::Result<()>;

impl Writer {
    pub(super) fn new(connection: Connection) -> Self {
        Self { connection: Mutex::new(connection), waiting: Mutex::default() }
    }

    /// The connection, for writes outside of a commit.
    pub(super) fn connection(&self) -> MutexGuard<'_, Connection> {
        // A transaction that panicked was rolled back when it was dropped.
        lock(&self.connection)
    }

    /// Makes all changes or none. Calls `then` once they are durable, even if nobody waits for the answer any more;
    /// gives no answer if the write panicked.
    pub(super) fn commit(
        self: &Arc<Self>,
        changes: Vec<Change>,
        make: Make,
        then: impl FnOnce() + Send + 'static,
    ) -> oneshot::Receiver<Result<(), Arc<rusqlite::Error>>> {
        let (reply, answer) = oneshot::channel();
        lock(&self.waiting).push(Commit { changes, then: Box::new(then), reply });
        let writer = self.clone();
        tokio::task::spawn_blocking(move || {
            let mut connection = writer.connection();
            // The previous owner of the connection may have written these commits already.
            let commits = std::mem::take(&mut *lock(&writer.waiting));
            if !commits.is_empty() {
                write(&mut connection, commits, make);
            }
        });
        answer
    }
}

fn write(connection: &mut Connection, commits: Vec<Commit>, make: Make) {
    let each: Vec<_> = commits.iter().map(|commit| commit.changes.as_slice()).collect();
    // A receiver that was dropped needs no answer.
    match write_all(connection, &each, make) {
        Ok(written) => {
            for (commit, written) in commits.into_iter().zip(written) {
                if written.is_ok() {
                    (commit.then)();
                }
                let _ = commit.reply.send(written.map_err(Arc::new));
            }
        }
        Err(error) => {
            let error = Arc::new(error);
            for commit in commits {
                let _ = commit.reply.send(Err(error.clone()));
            }
        }
    }
}

/// Writes commits in one transaction; a commit that fails does not affect the others.
fn write_all(
    connection: &mut Connection,
    commits: &[&[Change]],
    make: Make,
) -> rusqlite::Result<Vec<rusqlite::Result<()>>> {
    let mut transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let mut written = Vec::new();
    for changes in commits {
        let made = write_one(&mut transaction, changes, make);
        match made {
            // Errors such as a full disk have rolled back the whole transaction.
            Err(error) if transaction.is_autocommit() => return Err(error),
            made => written.push(made),
        }
    }
    transaction.commit()?;
    Ok(written)
}

fn write_one(transaction: &mut Transaction<'_>, changes: &[Change], make: Make) -> rusqlite::Result<()> {
    // Dropping an uncommitted savepoint rolls it back.
    let savepoint = transaction.savepoint()?;
    changes.iter().try_for_each(|change| make(&savepoint, change))?;
    savepoint.commit()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
