//! Connects over TCP to whichever address of a name answers. Knows neither TLS nor HTTP.

use super::classify::{self, CallError};
use super::resolve::Resolver;
use crate::event::{ConnectionRecord, Failure, SetUpStep};
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::Instant;
use url::Host;

/// How long one address is tried before the next one is tried concurrently (RFC 8305, section 5).
const STAGGER: Duration = Duration::from_millis(250);

/// The destination of a TCP connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TcpDestination {
    pub(super) host: Host<String>,
    pub(super) port: u16,
}

/// Resolves and connects; each completed phase is recorded, even if a later one fails.
pub(super) async fn tcp(
    peer: &TcpDestination,
    resolver: &Resolver,
    connection: &mut ConnectionRecord,
) -> Result<TcpStream, CallError> {
    let phases = connection.phases.get_or_insert_default();
    let addresses = match &peer.host {
        Host::Ipv4(ip) => vec![SocketAddr::new(IpAddr::V4(*ip), peer.port)],
        Host::Ipv6(ip) => vec![SocketAddr::new(IpAddr::V6(*ip), peer.port)],
        Host::Domain(name) => {
            let began = Instant::now();
            let found = interleave(resolver.resolve(name, peer.port).await?);
            phases.dns = Some(began.elapsed());
            found
        }
    };
    connection.step = SetUpStep::Connect;
    let began = Instant::now();
    let stream = race(addresses).await.map_err(|error| {
        let doing = format!("cannot connect to {}:{}", peer.host, peer.port);
        classify::set_up(Failure::Connect, &doing, &error)
    })?;
    phases.connect = Some(began.elapsed());
    Ok(stream)
}

/// Alternates the address families, beginning with the one that the resolver prefers; otherwise keeps the resolver's
/// order.
fn interleave(addresses: impl IntoIterator<Item = SocketAddr>) -> Vec<SocketAddr> {
    let all: Vec<_> = addresses.into_iter().collect();
    let prefers_v6 = all.first().is_some_and(SocketAddr::is_ipv6);
    let (first, second): (Vec<_>, Vec<_>) = all.into_iter().partition(|a| a.is_ipv6() == prefers_v6);
    let (mut first, mut second) = (first.into_iter(), second.into_iter());
    let mut mixed = Vec::new();
    loop {
        let pair = [first.next(), second.next()];
        if pair == [None, None] {
            return mixed;
        }
        mixed.extend(pair.into_iter().flatten());
    }
}

fn more_telling(first: io::Error, second: io::Error) -> io::Error {
    let is_own = |error: &io::Error| classify::shortage(error).is_some();
    if is_own(&first) && !is_own(&second) { second } else { first }
}

/// Connects to the first address that answers. The next one is tried when one fails or takes too long.
async fn race(addresses: Vec<SocketAddr>) -> io::Result<TcpStream> {
    let mut waiting = addresses.into_iter();
    let mut tries = FuturesUnordered::new();
    let mut failed = None;
    loop {
        tries.extend(waiting.next().map(TcpStream::connect));
        if tries.is_empty() {
            return Err(failed.unwrap_or_else(|| io::ErrorKind::NotFound.into()));
        }
        let more = waiting.len() > 0;
        tokio::select! {
            Some(result) = tries.next() => match result {
                Ok(stream) => {
                    stream.set_nodelay(true)?;
                    return Ok(stream);
                }
                // The first address is the preferred one, so its error is the most informative. But an error of this
                // machine (without IPv6, for example) must not hide that the target refused a connection on another
                // address.
                Err(error) => {
                    failed = Some(match failed {
                        Some(first) => more_telling(first, error),
                        None => error,
                    });
                }
            },
            () = tokio::time::sleep(STAGGER), if more => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Phases;
    use crate::testing::ReservedPort;
    use rustix::io::Errno;
    use tokio::net::TcpListener;

    fn address(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn families_take_turns() {
        let from = ["[::1]:1", "[::2]:1", "[::3]:1", "1.1.1.1:1", "2.2.2.2:1"].map(address);
        let to = ["[::1]:1", "1.1.1.1:1", "[::2]:1", "2.2.2.2:1", "[::3]:1"].map(address);
        assert_eq!(interleave(from), to);
        let from = ["1.1.1.1:1", "[::1]:1", "2.2.2.2:1"].map(address);
        assert_eq!(interleave(from), ["1.1.1.1:1", "[::1]:1", "2.2.2.2:1"].map(address));
        assert_eq!(interleave([]), []);
    }

    #[tokio::test]
    async fn an_address_that_refuses_makes_way_for_the_next() {
        let reserved = ReservedPort::new();
        let closed = reserved.address;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let open = listener.local_addr().unwrap();
        let stream = race(vec![closed, open]).await.unwrap();
        assert_eq!(stream.peer_addr().unwrap(), open);
        assert!(stream.nodelay().unwrap());
        let refused = race(vec![closed, closed]).await.unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
        assert_eq!(race(Vec::new()).await.unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn what_this_machine_lacks_hides_no_refusal() {
        let [ours, refused] = [Errno::ADDRNOTAVAIL, Errno::CONNREFUSED].map(io::Error::from);
        assert_eq!(more_telling(ours, refused).kind(), io::ErrorKind::ConnectionRefused);
        let [refused, ours] = [Errno::CONNREFUSED, Errno::MFILE].map(io::Error::from);
        assert_eq!(more_telling(refused, ours).kind(), io::ErrorKind::ConnectionRefused);
        let [first, second] = [Errno::MFILE, Errno::ADDRNOTAVAIL].map(io::Error::from);
        assert_eq!(Errno::from_io_error(&more_telling(first, second)), Some(Errno::MFILE));
    }

    #[tokio::test]
    async fn phases_are_kept_as_far_as_they_came() {
        let reserved = ReservedPort::new();
        let closed = reserved.address;
        let mut connection = ConnectionRecord::default();
        let peer = TcpDestination { host: Host::Domain("localhost".into()), port: closed.port() };
        let broken = tcp(&peer, &Resolver::new(), &mut connection).await.unwrap_err();
        assert_eq!((broken.failure, connection.step), (Failure::Connect, SetUpStep::Connect));
        let phases = connection.phases.unwrap();
        assert!(phases.dns.is_some() && phases.connect.is_none());

        let mut connection = ConnectionRecord::default();
        let peer = TcpDestination { host: Host::Domain("tokenbeat-test.invalid".into()), port: 80 };
        let broken = tcp(&peer, &Resolver::new(), &mut connection).await.unwrap_err();
        assert_eq!((broken.failure, connection.step), (Failure::Dns, SetUpStep::Resolve));
        assert_eq!(connection.phases, Some(Phases::default()));
    }
}
