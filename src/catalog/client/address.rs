//! Which addresses are never called: link-local ones and those at which clouds hand out their machines' credentials.
//! Whoever may name a broker's URL must not read them with bindery's network.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use url::{Host, Url};

use super::ClientError;

/// Metadata services outside the link-local ranges: Alibaba Cloud's and, over IPv6, AWS's.
const METADATA_V4: Ipv4Addr = Ipv4Addr::new(100, 100, 100, 200);
const METADATA_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254);

/// The host's name stands only for addresses that are never called.
#[derive(Debug, thiserror::Error)]
#[error("{0} is a link-local or metadata address")]
pub(super) struct Refused(pub(super) String);

/// Resolves names by the system and leaves out the addresses that are never called. Checking here, and not before,
/// leaves no time in which a name could change its address.
#[derive(Clone, Copy, Debug)]
pub(super) struct Resolver;

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let all: Vec<SocketAddr> = tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            let allowed: Vec<SocketAddr> =
                all.iter().copied().filter(|address| !is_refused(address.ip())).collect();
            if allowed.is_empty() && !all.is_empty() {
                return Err(Refused(name.as_str().to_owned()).into());
            }
            Ok(Box::new(allowed.into_iter()) as Addrs)
        })
    }
}

/// Refuses a URL whose host is such an address itself; those do not pass the resolver.
pub(super) fn check(url: &Url) -> Result<(), ClientError> {
    let ip = match url.host() {
        Some(Host::Ipv4(ip)) => IpAddr::V4(ip),
        Some(Host::Ipv6(ip)) => IpAddr::V6(ip),
        Some(Host::Domain(_)) => return Ok(()),
        None => return Err(ClientError::BadUrl("it has no host".to_owned())),
    };
    if is_refused(ip) { Err(ClientError::RefusedAddress(ip.to_string())) } else { Ok(()) }
}

fn is_refused(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(ip) => ip.is_link_local() || ip == METADATA_V4,
        IpAddr::V6(ip) => ip.is_unicast_link_local() || ip == METADATA_V6,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn link_local_and_metadata_addresses_are_refused_however_they_are_written() {
        for url in [
            "http://169.254.169.254/",
            "http://0xA9FEA9FE/",
            "http://2852039166/",
            "http://[::ffff:169.254.169.254]/",
            "http://[fe80::1]/",
            "http://[fd00:ec2::254]/",
            "http://100.100.100.200/",
        ] {
            assert!(check(&Url::parse(url).unwrap()).is_err(), "{url}");
        }
        for url in ["http://127.0.0.1/", "http://10.0.0.1/", "http://[::1]/", "http://broker.default/"] {
            assert!(check(&Url::parse(url).unwrap()).is_ok(), "{url}");
        }
    }
}
