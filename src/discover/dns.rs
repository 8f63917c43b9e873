//! Asks the DNS for the addresses of a name. Like Prometheus, it asks the name servers of `resolv.conf` itself: the
//! system's resolver knows no SRV records, and does not tell a name without addresses from one that cannot be resolved.

use super::source::LookError;
use crate::event::LookFailure;
use crate::files::Files;
use crate::plan::{DnsRecord, Replica};
use simple_dns::rdata::RData;
use simple_dns::{CLASS, Name, Packet, PacketFlag, Question, RCODE, TYPE, header_buffer};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;
use url::Host;

/// The file with the name servers of this machine.
const RESOLV_CONF: &str = "/etc/resolv.conf";

/// Maximum size of that file in bytes.
const MAX_CONF: u64 = 64 << 10;

/// Maximum number of name servers, and of search domains, as in the system's resolver.
const MAX_SERVERS: usize = 3;
const MAX_SEARCHED: usize = 6;

/// The port of name servers.
const PORT: u16 = 53;

/// Time for an answer of a name server.
const PATIENCE: Duration = Duration::from_secs(2);

/// How often each name server is asked.
const TRIES: usize = 2;

/// Maximum size of an answer over UDP in bytes, without extensions (RFC 1035, section 4.2.1); larger ones come over TCP.
const MAX_DATAGRAM: usize = 512;

/// Where and how names are looked up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct NameServers {
    servers: Vec<SocketAddr>,
    search: Vec<String>,
    /// A name with at least as many dots is tried as it is first.
    ndots: usize,
}

impl NameServers {
    /// Those of this machine. Blocks.
    pub(super) fn of_system() -> Result<Self, LookError> {
        let path = Path::new(RESOLV_CONF);
        let text = Files::default().read_text_at_most(path, MAX_CONF);
        let text = text.map_err(|source| LookError::Unreadable { path: path.to_owned(), source })?;
        Ok(Self::read(&text))
    }

    /// Reads the format of `resolv.conf`. What is not understood is ignored, as the system does.
    fn read(text: &str) -> Self {
        let mut read = Self { servers: Vec::new(), search: Vec::new(), ndots: 1 };
        for line in text.lines().map(str::trim) {
            let mut words = line.split_whitespace();
            match words.next() {
                Some("nameserver") => {
                    let address =
                        words.next().and_then(|word| word.split('%').next()?.parse::<IpAddr>().ok());
                    read.servers.extend(address.map(|ip| SocketAddr::new(ip, PORT)));
                }
                Some("search" | "domain") => {
                    read.search =
                        words.take(MAX_SEARCHED).map(|it| it.trim_matches('.').to_owned()).collect();
                }
                Some("options") => {
                    let mut ndots = words.filter_map(|word| word.strip_prefix("ndots:")?.parse().ok());
                    read.ndots = ndots.next_back().unwrap_or(read.ndots).min(15);
                }
                _ => {}
            }
        }
        read.servers.truncate(MAX_SERVERS);
        if read.servers.is_empty() {
            read.servers.push(SocketAddr::from((Ipv4Addr::LOCALHOST, PORT)));
        }
        read
    }

    /// Only this server, and no search domains.
    #[cfg(test)]
    pub(super) fn only(server: SocketAddr) -> Self {
        Self { servers: vec![server], search: Vec::new(), ndots: 1 }
    }

    /// The absolute names that a name may stand for, in the order in which they are tried.
    fn candidates(&self, name: &str) -> Vec<String> {
        if let Some(absolute) = name.strip_suffix('.') {
            return vec![absolute.to_owned()];
        }
        let searched = self.search.iter().filter(|domain| !domain.is_empty());
        let mut all: Vec<String> = searched.map(|domain| format!("{name}.{domain}")).collect();
        let is_long = name.matches('.').count() >= self.ndots;
        all.insert(if is_long { 0 } else { all.len() }, name.to_owned());
        all
    }

    /// The replicas that a name stands for; none if the name does not exist or has no such records. An address of an A or
    /// AAAA record has this port.
    pub(super) async fn resolve(
        &self,
        name: &str,
        record: DnsRecord,
        port: u16,
    ) -> Result<Vec<Replica>, LookError> {
        let mut failed = None;
        for candidate in self.candidates(name) {
            match self.ask_all(&candidate, record, port).await {
                Ok(found) if !found.is_empty() => return Ok(found),
                Ok(_) => {}
                // A domain to search in that is broken does not hide the name itself.
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        failed.map_or(Ok(Vec::new()), Err)
    }

    /// Asks the servers in turns, until one answers.
    async fn ask_all(&self, name: &str, record: DnsRecord, port: u16) -> Result<Vec<Replica>, LookError> {
        let mut said = String::new();
        let mut failure = LookFailure::Unreachable;
        for server in self.servers.iter().cycle().take(TRIES * self.servers.len()) {
            let asked = timeout(PATIENCE, ask(*server, name, record, port)).await;
            (failure, said) = match asked {
                Ok(Ok(Reply::Records(found))) => return Ok(found),
                Ok(Ok(Reply::Refused(code))) => (LookFailure::Refused, format!("{server} says {code}")),
                Ok(Err(error)) => (LookFailure::Unreachable, format!("{server}: {error}")),
                Err(_) => (LookFailure::Unreachable, format!("{server} does not answer")),
            };
        }
        Err(LookError::Dns { name: name.to_owned(), said, failure })
    }
}

/// The reply of a name server.
enum Reply {
    /// What there is: nothing, if the name does not exist.
    Records(Vec<Replica>),
    /// It does not tell.
    Refused(String),
}

fn invalid(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

/// Asks one server, over TCP if the answer is too large for UDP.
async fn ask(server: SocketAddr, name: &str, record: DnsRecord, port: u16) -> io::Result<Reply> {
    let id = rand::random();
    let query = query(id, name, record)?;
    let socket = UdpSocket::bind(match server {
        SocketAddr::V4(_) => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
        SocketAddr::V6(_) => SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
    })
    .await?;
    // Only datagrams of this server are received.
    socket.connect(server).await?;
    socket.send(&query).await?;
    let mut buffer = vec![0; MAX_DATAGRAM];
    loop {
        let length = socket.recv(&mut buffer).await?;
        let reply = buffer.get(..length).unwrap_or_default();
        // One of an earlier question, or of somebody else, is passed over.
        if answers(reply, id)? {
            if is_truncated(reply)? {
                break;
            }
            return read_reply(reply, record, port);
        }
    }
    let mut stream = TcpStream::connect(server).await?;
    let length = u16::try_from(query.len()).map_err(invalid)?;
    stream.write_all(&length.to_be_bytes()).await?;
    stream.write_all(&query).await?;
    let mut buffer = vec![0; usize::from(stream.read_u16().await?)];
    stream.read_exact(&mut buffer).await?;
    if answers(&buffer, id)? {
        read_reply(&buffer, record, port)
    } else {
        Err(invalid("the answer is of another question"))
    }
}

/// Whether a packet answers the question with this id.
fn answers(bytes: &[u8], id: u16) -> io::Result<bool> {
    let unreadable = |error: simple_dns::SimpleDnsError| invalid(error.to_string());
    let of_same = header_buffer::id(bytes).map_err(unreadable)? == id;
    Ok(of_same && header_buffer::has_flags(bytes, PacketFlag::RESPONSE).map_err(unreadable)?)
}

/// Whether a part of an answer is missing. The rest may end anywhere, even within a record, and is ignored (RFC 2181,
/// section 9).
fn is_truncated(bytes: &[u8]) -> io::Result<bool> {
    header_buffer::has_flags(bytes, PacketFlag::TRUNCATION).map_err(|error| invalid(error.to_string()))
}

fn query(id: u16, name: &str, record: DnsRecord) -> io::Result<Vec<u8>> {
    let kind = match record {
        DnsRecord::A => TYPE::A,
        DnsRecord::Aaaa => TYPE::AAAA,
        DnsRecord::Srv => TYPE::SRV,
    };
    let mut packet = Packet::new_query(id);
    packet.set_flags(PacketFlag::RECURSION_DESIRED);
    let name = Name::new(name).map_err(|error| invalid(error.to_string()))?;
    packet.questions.push(Question::new(name, kind.into(), CLASS::IN.into(), false));
    packet.build_bytes_vec().map_err(|error| invalid(error.to_string()))
}

fn read_reply(bytes: &[u8], record: DnsRecord, port: u16) -> io::Result<Reply> {
    let packet = Packet::parse(bytes).map_err(|error| invalid(error.to_string()))?;
    Ok(match packet.rcode() {
        RCODE::NoError => {
            let found = packet.answers.iter().filter_map(|answer| replica(&answer.rdata, record, port));
            Reply::Records(found.collect())
        }
        RCODE::NameError => Reply::Records(Vec::new()),
        other => Reply::Refused(format!("{other:?}")),
    })
}

/// The replica of a record; records of other kinds, such as the aliases on the way, are none.
fn replica(data: &RData<'_>, record: DnsRecord, port: u16) -> Option<Replica> {
    match (record, data) {
        (DnsRecord::A, RData::A(a)) => Some(Replica::new(Host::Ipv4(a.address.into()), port)),
        (DnsRecord::Aaaa, RData::AAAA(aaaa)) => Some(Replica::new(Host::Ipv6(aaaa.address.into()), port)),
        // A target of `.` says that there is no such service (RFC 2782).
        (DnsRecord::Srv, RData::SRV(srv)) => {
            let host = Host::parse(srv.target.to_string().trim_end_matches('.')).ok()?;
            Some(Replica::new(host, srv.port)).filter(|replica| replica.port != 0)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use simple_dns::ResourceRecord;
    use simple_dns::rdata::{A, AAAA, SRV};
    use tokio::net::TcpListener;

    /// A server that knows three names of `llm.svc.test`, and truncates what it sends over UDP if there is more than one
    /// record.
    async fn server() -> SocketAddr {
        let (udp, tcp) = loop {
            let udp = UdpSocket::bind("127.0.0.1:0").await.unwrap();
            // The port may be taken for TCP.
            if let Ok(tcp) = TcpListener::bind(udp.local_addr().unwrap()).await {
                break (udp, tcp);
            }
        };
        let address = udp.local_addr().unwrap();
        tokio::spawn(async move {
            let mut buffer = [0; 512];
            loop {
                let (length, from) = udp.recv_from(&mut buffer).await.unwrap();
                // A stray answer comes first.
                udp.send_to(&reply(&buffer[..length], 1, true), from).await.unwrap();
                udp.send_to(&reply(&buffer[..length], 0, true), from).await.unwrap();
            }
        });
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = tcp.accept().await.unwrap();
                let mut buffer = vec![0; usize::from(stream.read_u16().await.unwrap())];
                stream.read_exact(&mut buffer).await.unwrap();
                let reply = reply(&buffer, 0, false);
                stream.write_u16(u16::try_from(reply.len()).unwrap()).await.unwrap();
                stream.write_all(&reply).await.unwrap();
            }
        });
        address
    }

    fn reply(query: &[u8], id_off: u16, truncates: bool) -> Vec<u8> {
        let query = Packet::parse(query).unwrap();
        let name = query.questions[0].qname.clone();
        let mut reply = Packet::new_reply(query.id().wrapping_add(id_off));
        reply.questions = query.questions.clone();
        let a = |last| RData::A(A { address: u32::from(Ipv4Addr::new(10, 0, 0, last)) });
        let srv = |port, target| {
            RData::SRV(SRV { priority: 0, weight: 0, port, target: Name::new_unchecked(target) })
        };
        let records = match name.to_string().as_str() {
            "one.llm.svc.test" => vec![a(1)],
            "many.llm.svc.test" => (1..=60).map(a).collect(),
            "six.llm.svc.test" => vec![RData::AAAA(AAAA { address: u128::from(Ipv6Addr::LOCALHOST) })],
            "_http._tcp.llm.svc.test" => {
                vec![srv(8000, "llm-0.llm.svc.test"), srv(8001, "llm-1.llm.svc.test")]
            }
            "nothing.llm.svc.test" => Vec::new(),
            "broken.llm.svc.test" => {
                *reply.rcode_mut() = RCODE::ServerFailure;
                Vec::new()
            }
            _ => {
                *reply.rcode_mut() = RCODE::NameError;
                Vec::new()
            }
        };
        let cuts = truncates && records.len() > 1;
        if cuts {
            reply.set_flags(PacketFlag::TRUNCATION);
        }
        // Some servers leave the records out, and others cut the last one.
        if !cuts || name.to_string().starts_with("many") {
            let record = |data| ResourceRecord::new(name.clone(), CLASS::IN, 5, data);
            reply.answers = records.into_iter().map(record).collect();
        }
        let mut bytes = reply.build_bytes_vec().unwrap();
        if cuts {
            bytes.truncate(bytes.len().min(MAX_DATAGRAM - 3));
        }
        bytes
    }

    async fn found(servers: &NameServers, name: &str, record: DnsRecord) -> Vec<String> {
        let found = servers.resolve(name, record, 9000).await.unwrap();
        found.iter().map(|replica| replica.name.to_string()).collect()
    }

    #[tokio::test]
    async fn a_name_stands_for_its_records() {
        let servers = NameServers {
            search: vec!["other.test".into(), "svc.test".into()],
            ..NameServers::only(server().await)
        };
        assert_eq!(found(&servers, "one.llm.svc.test", DnsRecord::A).await, ["10.0.0.1:9000"]);
        assert_eq!(
            found(&servers, "one.llm", DnsRecord::A).await,
            ["10.0.0.1:9000"],
            "in the search domains"
        );
        assert_eq!(found(&servers, "one.llm.", DnsRecord::A).await, [""; 0], "it is absolute");
        assert_eq!(found(&servers, "many.llm.svc.test", DnsRecord::A).await.len(), 60, "over TCP");
        assert_eq!(found(&servers, "six.llm", DnsRecord::Aaaa).await, ["[::1]:9000"]);
        assert_eq!(found(&servers, "six.llm", DnsRecord::A).await, [""; 0], "of the other kind");
        let right = ["llm-0.llm.svc.test:8000", "llm-1.llm.svc.test:8001"];
        assert_eq!(found(&servers, "_http._tcp.llm", DnsRecord::Srv).await, right, "with their own ports");
        // A name that does not exist is an answer, and so is one without records.
        assert_eq!(found(&servers, "gone.llm.svc.test", DnsRecord::A).await, [""; 0]);
        assert_eq!(found(&servers, "nothing.llm.svc.test", DnsRecord::A).await, [""; 0]);
        let broken = servers.resolve("broken.llm.svc.test", DnsRecord::A, 1).await.unwrap_err();
        assert_eq!(broken.failure(), LookFailure::Refused);
        assert!(broken.to_string().contains("broken.llm.svc.test"), "{broken}");
    }

    #[tokio::test]
    async fn another_server_is_asked_if_one_is_not_there() {
        let closed = {
            let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
            socket.local_addr().unwrap()
        };
        let none = NameServers::only(closed).resolve("one.llm.svc.test", DnsRecord::A, 1).await.unwrap_err();
        assert_eq!(none.failure(), LookFailure::Unreachable);
        let servers = NameServers { servers: vec![closed, server().await], ..NameServers::only(closed) };
        assert_eq!(found(&servers, "one.llm.svc.test", DnsRecord::A).await, ["10.0.0.1:9000"]);
    }

    #[test]
    fn the_file_of_the_system_is_read_as_far_as_it_is_understood() {
        let text = "# comment\nnameserver 10.96.0.10\nnameserver fe80::1%eth0\nnameserver x\n\
             search llm.svc.cluster.local svc.cluster.local. cluster.local\noptions edns0 ndots:5 timeout:1\n";
        let read = NameServers::read(text);
        assert_eq!(read.servers, ["10.96.0.10:53".parse().unwrap(), "[fe80::1]:53".parse().unwrap()]);
        assert_eq!(read.ndots, 5);
        let right = ["a.b.llm.svc.cluster.local", "a.b.svc.cluster.local", "a.b.cluster.local", "a.b"];
        assert_eq!(read.candidates("a.b"), right);
        assert_eq!(read.candidates("1.2.3.4.5.6")[0], "1.2.3.4.5.6");
        assert_eq!(NameServers::read("").servers, ["127.0.0.1:53".parse().unwrap()]);
    }
}
