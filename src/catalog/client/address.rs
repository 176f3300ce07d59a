//! Addresses that bindery never calls: link-local addresses, and those of clouds' metadata services. Otherwise a user
//! who may set a broker's URL could read a machine's credentials through bindery's network.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use url::{Host, Url};

use super::error::{ClientError, Refused};

/// Metadata services outside the link-local ranges: Alibaba Cloud, Azure, and Google over IPv6.
const METADATA_V4: [Ipv4Addr; 2] = [Ipv4Addr::new(100, 100, 100, 200), Ipv4Addr::new(168, 63, 129, 16)];
const METADATA_V6: Ipv6Addr = Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254);
/// AWS's instance services over IPv6: metadata and the credentials of pods.
const AWS_V6: [u16; 2] = [0xfd00, 0xec2];
/// The prefix that maps all of IPv4 into IPv6 (RFC 6052, section 2.1).
const NAT64: [u16; 6] = [0x64, 0xff9b, 0, 0, 0, 0];

/// Resolves names with the system's resolver and removes forbidden addresses. The check is part of the resolution, so
/// a name cannot change its address after the check.
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

/// Refuses a URL whose host is a forbidden address itself, because such a host does not pass the resolver.
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
        IpAddr::V4(ip) => ip.is_link_local() || METADATA_V4.contains(&ip),
        IpAddr::V6(ip) => {
            let segments = ip.segments();
            if segments.starts_with(&NAT64) {
                let [.., a, b, c, d] = ip.octets();
                return is_refused(IpAddr::V4(Ipv4Addr::new(a, b, c, d)));
            }
            ip.is_unicast_link_local() || ip == METADATA_V6 || segments.starts_with(&AWS_V6)
        }
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
            "http://[fd00:ec2::23]/",
            "http://[fd20:ce::254]/",
            "http://[64:ff9b::169.254.169.254]/",
            "http://[64:ff9b::100.100.100.200]/",
            "http://100.100.100.200/",
            "http://168.63.129.16/",
        ] {
            assert!(check(&Url::parse(url).unwrap()).is_err(), "{url}");
        }
        for url in [
            "http://127.0.0.1/",
            "http://10.0.0.1/",
            "http://[::1]/",
            "http://[64:ff9b::10.0.0.1]/",
            "http://[fd00:1::254]/",
            "http://broker.default/",
        ] {
            assert!(check(&Url::parse(url).unwrap()).is_ok(), "{url}");
        }
    }
}
