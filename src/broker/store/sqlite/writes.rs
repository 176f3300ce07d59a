//! Writing: commits that come while the disk is waited for share the next wait. Each is all or nothing for itself; what
//! they share is the transaction that makes them durable.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rusqlite::{Connection, Transaction, TransactionBehavior};
use tokio::sync::oneshot;

use crate::broker::store::Change;

/// The connection that writes, and what is to be written next.
pub(super) struct Writer {
    connection: Mutex<Connection>,
    waiting: Mutex<Vec<Commit>>,
}

/// Changes that are made together, and what happens when they are durable.
struct Commit {
    changes: Vec<Change>,
    then: Box<dyn FnOnce() + Send>,
    told: oneshot::Sender<Result<(), Arc<rusqlite::Error>>>,
}

/// Makes a change in the transaction that is open.
type Make = fn(&Connection, &Change) -> rusqlite::Result<()>;

impl Writer {
    pub(super) fn new(connection: Connection) -> Self {
        Self { connection: Mutex::new(connection), waiting: Mutex::default() }
    }

    /// The connection, for what is no commit.
    pub(super) fn connection(&self) -> MutexGuard<'_, Connection> {
        // A transaction that panicked was rolled back when it was dropped.
        lock(&self.connection)
    }

    /// Makes all changes or none. `then` happens when they are durable, also if nobody waits for the answer any more;
    /// nothing comes when the writing panicked.
    pub(super) fn commit(
        self: &Arc<Self>,
        changes: Vec<Change>,
        make: Make,
        then: impl FnOnce() + Send + 'static,
    ) -> oneshot::Receiver<Result<(), Arc<rusqlite::Error>>> {
        let (told, answer) = oneshot::channel();
        lock(&self.waiting).push(Commit { changes, then: Box::new(then), told });
        let writer = self.clone();
        tokio::task::spawn_blocking(move || {
            let mut connection = writer.connection();
            // Whoever had the connection before may have written these, too.
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
    // Whoever no longer waits needs no answer.
    match write_all(connection, &each, make) {
        Ok(written) => {
            for (commit, written) in commits.into_iter().zip(written) {
                if written.is_ok() {
                    (commit.then)();
                }
                let _ = commit.told.send(written.map_err(Arc::new));
            }
        }
        Err(error) => {
            let error = Arc::new(error);
            for commit in commits {
                let _ = commit.told.send(Err(error.clone()));
            }
        }
    }
}

/// One transaction; a commit that fails leaves the others alone.
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
            // A full disk and the like have taken back the whole of it.
            Err(error) if transaction.is_autocommit() => return Err(error),
            made => written.push(made),
        }
    }
    transaction.commit()?;
    Ok(written)
}

fn write_one(transaction: &mut Transaction<'_>, changes: &[Change], make: Make) -> rusqlite::Result<()> {
    // Dropping it takes back what was made.
    let savepoint = transaction.savepoint()?;
    changes.iter().try_for_each(|change| make(&savepoint, change))?;
    savepoint.commit()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
