//! An instance and its states (doc-detail 26315, "Instance states"). The only state in which an instance can be changed is
//! `Running`.

use std::{collections::BTreeMap, mem, thread::JoinHandle};

use super::{Result, Settings, accounts::Account, databases::Database, refuse, server::Server};

/// The engines of the stand-in. SQL Server is not one of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Engine {
    MySql,
    MariaDb,
    PostgreSql,
}

impl Engine {
    pub(super) fn read(name: &str) -> Option<Self> {
        match name {
            "MySQL" => Some(Self::MySql),
            "MariaDB" => Some(Self::MariaDb),
            "PostgreSQL" => Some(Self::PostgreSql),
            _ => None,
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::MySql => "MySQL",
            Self::MariaDb => "MariaDB",
            Self::PostgreSql => "PostgreSQL",
        }
    }

    pub(super) fn port(self) -> u16 {
        if self == Self::PostgreSql { 5432 } else { 3306 }
    }
}

/// A state that ends after a number of looks.
pub(super) struct Passing {
    pub(super) state: &'static str,
    /// The looks that find the instance as it was, before the state begins.
    pub(super) unseen: u32,
    pub(super) looks: u32,
}

/// What a change leads to.
pub(super) enum Change {
    Size { class: String, storage: u32 },
    Tls(bool),
}

/// What a look at an instance finds.
#[derive(PartialEq, Eq)]
pub(super) enum Look {
    There,
    /// The deletion has ended.
    Gone,
}

/// The server behind an instance.
pub(super) enum Behind {
    Nothing,
    Starting(JoinHandle<Server>),
    Ready(Server),
}

pub(in super::super) struct Instance {
    pub(super) region: String,
    pub(super) engine: Engine,
    pub(super) version: String,
    pub(super) class: String,
    pub(super) storage: u32,
    /// The change that the passing state is about.
    pub(super) next: Option<Change>,
    pub(super) pay_type: String,
    pub(super) description: String,
    pub(super) network: BTreeMap<&'static str, String>,
    pub(super) tags: BTreeMap<String, String>,
    pub(super) is_protected: bool,
    pub(super) has_ssl: bool,
    /// Whether the certificate ends soon.
    pub(in super::super) needs_certificate: bool,
    pub(super) passing: Option<Passing>,
    /// Groups of addresses that may connect.
    pub(super) security_ips: BTreeMap<String, Vec<String>>,
    pub(super) accounts: BTreeMap<String, Account>,
    pub(super) databases: BTreeMap<String, Database>,
    pub(super) behind: Behind,
}

impl Instance {
    /// The present state.
    pub(super) fn state(&self) -> &'static str {
        let passing = self.passing.as_ref().filter(|passing| passing.unseen == 0);
        passing.map_or("Running", |passing| passing.state)
    }

    /// Lets the time of one look pass.
    pub(super) fn look(&mut self) -> Look {
        self.settle();
        match &mut self.passing {
            None => Look::There,
            Some(passing) if passing.unseen > 0 => {
                passing.unseen -= 1;
                Look::There
            }
            Some(passing) if passing.looks > 0 => {
                passing.looks -= 1;
                Look::There
            }
            Some(passing) if passing.state == "Deleting" => Look::Gone,
            // A real server takes its own time.
            Some(_) if matches!(self.behind, Behind::Starting(_)) => Look::There,
            Some(_) => {
                self.passing = None;
                match self.next.take() {
                    Some(Change::Size { class, storage }) => (self.class, self.storage) = (class, storage),
                    Some(Change::Tls(is_on)) => (self.has_ssl, self.needs_certificate) = (is_on, false),
                    None => {}
                }
                Look::There
            }
        }
    }

    /// Ends the passing state with the next look.
    pub(in super::super) fn hurry(&mut self) {
        if let Some(passing) = &mut self.passing {
            (passing.unseen, passing.looks) = (0, 0);
        }
        self.accounts.values_mut().for_each(Account::hurry);
        self.databases.values_mut().for_each(Database::hurry);
    }

    /// Takes a server that has started.
    fn settle(&mut self) {
        if matches!(&self.behind, Behind::Starting(starting) if starting.is_finished()) {
            let Behind::Starting(starting) = mem::replace(&mut self.behind, Behind::Nothing) else { return };
            self.behind = Behind::Ready(starting.join().expect("the server behind the instance starts"));
        }
    }

    /// Refuses a change in any other state than Running. DeleteDBInstance and ModifyDBInstanceSpec have a code of their
    /// own.
    pub(super) fn check_running(&self, action: &str) -> Result<()> {
        let state = self.state();
        let code = match (state, action) {
            ("Running", _) => return Ok(()),
            (_, "DeleteDBInstance" | "ModifyDBInstanceSpec") => "IncorrectDBInstanceState",
            _ => "OperationDenied.DBInstanceStatus",
        };
        let message = format!("The operation is not permitted due to the status {state} of the instance.");
        refuse(403, code, message)
    }

    pub(in super::super) fn server(&self) -> Option<&Server> {
        match &self.behind {
            Behind::Ready(server) => Some(server),
            _ => None,
        }
    }

    /// Starts a passing state.
    pub(super) fn pass(&mut self, state: &'static str, looks: u32) {
        self.passing = Some(Passing { state, unseen: 0, looks });
    }

    /// Starts a change, which the instance shows only after some looks.
    pub(super) fn change(&mut self, state: &'static str, change: Change, settings: &Settings) {
        self.passing = Some(Passing { state, unseen: settings.changing_unseen, looks: settings.changing });
        self.next = Some(change);
    }
}
