//! Where database servers are, and who may connect to them: what the configuration says, else what the metadata service
//! says about the machine that bindery runs on.

use serde::Deserialize;

use super::{Services, read::invalid};
use crate::{
    broker::{
        backends::{ServiceError, Unacceptable, outcome::MISCONFIGURED},
        config::ConfigError,
    },
    cloud::alibaba::ErrorKind,
};

/// A network.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Network {
    #[serde(rename = "vpcId")]
    pub(super) vpc: Option<String>,
    #[serde(rename = "vswitchId")]
    pub(super) vswitch: Option<String>,
    #[serde(rename = "zoneId")]
    pub(super) zone: Option<String>,
}

/// Where a server is created.
pub(super) struct Placement {
    pub(super) network: Network,
    /// The addresses that may connect, with commas.
    pub(super) security_ips: String,
}

impl Network {
    /// The network with what a user says.
    ///
    /// # Errors
    /// When the user contradicts the configuration.
    pub(super) fn with(&self, asked: Self) -> Result<Self, Unacceptable> {
        let merged =
            |name: &str, of_backend: &Option<String>, asked: Option<String>| match (of_backend, asked) {
                (Some(own), Some(asked)) if *own != asked => {
                    Err(invalid(name, "is set by the operator; leave it out"))
                }
                (own, asked) => {
                    let is_id = |id: &String| {
                        id.len() <= 64
                            && id
                                .chars()
                                .all(|letter| letter.is_ascii_alphanumeric() || "-_".contains(letter))
                    };
                    let asked = asked.filter(|asked| own.as_ref() != Some(asked));
                    if asked.as_ref().is_some_and(|asked| !is_id(asked)) {
                        return Err(invalid(name, "is no id of Alibaba Cloud"));
                    }
                    Ok(own.clone().or(asked))
                }
            };
        Ok(Self {
            vpc: merged("VpcID", &self.vpc, asked.vpc)?,
            vswitch: merged("VSwitchID", &self.vswitch, asked.vswitch)?,
            zone: merged("ZoneId", &self.zone, asked.zone)?,
        })
    }

    /// Whether nothing is known.
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Checks the addresses that may connect; `field` is the path of the setting.
pub(super) fn check_security_ips(addresses: &[String], field: &str) -> Result<(), ConfigError> {
    for address in addresses {
        let (ip, bits) = address.split_once('/').unwrap_or((address, "32"));
        let is_valid =
            ip.parse::<std::net::Ipv4Addr>().is_ok() && bits.parse::<u8>().is_ok_and(|bits| bits <= 32);
        if !is_valid {
            let problem = format!("has {address:?}, which is no address; write it as 10.0.0.0/8");
            return Err(ConfigError::invalid(field, problem));
        }
    }
    Ok(())
}

impl Services {
    /// Where a server is created for which the user and the configuration say this.
    pub(super) async fn placement(&self, network: &Network) -> Result<Placement, ServiceError> {
        // A part of a network belongs to no other one, so the machine's network counts as a whole.
        let network = if network.is_empty() { self.network_of_the_machine().await? } else { network.clone() };
        let security_ips = match self.settings.security_ips.as_slice() {
            [] => self.machine("vpc-cidr-block").await?.ok_or_else(|| {
                let problem = "nobody may connect to the server: `securityIps` of the backend is not set, and the metadata \
                               service of Alibaba Cloud does not say in which network the broker is";
                ServiceError::new(&self.name, MISCONFIGURED).detailed(problem)
            })?,
            addresses => addresses.join(","),
        };
        Ok(Placement { network, security_ips })
    }

    async fn network_of_the_machine(&self) -> Result<Network, ServiceError> {
        let vpc = self.machine("vpc-id").await?;
        if vpc.is_none() {
            return Ok(Network::default());
        }
        let (vswitch, zone) = (self.machine("vswitch-id").await?, self.machine("zone-id").await?);
        Ok(Network { vpc, vswitch, zone })
    }

    /// A fact about the machine; nothing if the machine is none of Alibaba Cloud.
    async fn machine(&self, fact: &str) -> Result<Option<String>, ServiceError> {
        match self.account.machine(fact).await {
            Ok(fact) => Ok(fact),
            Err(error) if error.kind() == ErrorKind::Unavailable => Ok(None),
            Err(error) => Err(self.failed(&error)),
        }
    }
}
