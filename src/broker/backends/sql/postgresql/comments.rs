//! The comment on each database, which tells human readers who owns the database. Every login of the server can read
//! the comments of all databases, so a comment contains the digest of the instance's id, never the id. Comments of
//! earlier versions, which contain the id, are replaced.

use std::sync::atomic::Ordering;

use tokio_postgres::types::Type;

use super::{Databases, error::SqlError, naming};

impl Databases {
    /// The comment on an instance's database.
    pub(super) fn comment_on(&self, instance: &str) -> String {
        format!("{} {}", self.comment_prefix(), naming::digest(instance))
    }

    fn comment_prefix(&self) -> String {
        format!("bindery installation={} instance", self.installation)
    }

    /// Replaces comments that contain an id, once per start. A comment that cannot be replaced does not block anything
    /// else.
    pub(super) async fn hide_ids(&self) -> Result<(), SqlError> {
        if self.ids_are_hidden.load(Ordering::Relaxed) {
            return Ok(());
        }
        let session = self.server.session_for_expiry().await?;
        let dialect = session.dialect();
        let former = format!("{}=", self.comment_prefix());
        let rows =
            session.rows("read comments", dialect.marked_databases(), &[(&former, Type::TEXT)]).await?;
        for row in rows {
            let (database, comment): (String, String) = (row.get(0), row.get(1));
            let Some(id) = comment.strip_prefix(&former).filter(|_| naming::is_database(&database)) else {
                continue;
            };
            let replaced = dialect.write_mark(&database, &self.comment_on(id));
            let acting = dialect.join_role(&naming::owner(&database), self.admin());
            match session.run([acting, replaced]).await {
                Ok(()) => tracing::info!(database, "the comment shows the instance's id no longer"),
                Err(error) => {
                    tracing::warn!(database, "the comment still shows the instance's id: {error}");
                }
            }
        }
        self.ids_are_hidden.store(true, Ordering::Relaxed);
        Ok(())
    }
}
