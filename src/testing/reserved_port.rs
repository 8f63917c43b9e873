//! A port of the loopback interface that is the test's own, whether or not something listens on it. Also a module of the
//! integration tests, so it knows nothing of this crate.

use std::net::SocketAddr;
use tokio::net::{TcpListener, TcpSocket};

/// A reserved port: connections are refused until something listens on it, and nobody else is given it.
pub(crate) struct ReservedPort {
    pub(crate) address: SocketAddr,
    /// Never listens.
    _held: TcpSocket,
}

impl ReservedPort {
    pub(crate) fn new() -> Self {
        let held = socket("127.0.0.1:0".parse().unwrap());
        Self { address: held.local_addr().unwrap(), _held: held }
    }

    /// Listens on it, until the listener is dropped.
    pub(crate) fn listen(&self) -> TcpListener {
        socket(self.address).listen(1024).unwrap()
    }
}

fn socket(address: SocketAddr) -> TcpSocket {
    let socket = TcpSocket::new_v4().unwrap();
    // For a listener beside the socket that holds the port.
    socket.set_reuseport(true).unwrap();
    socket.bind(address).unwrap();
    socket
}

#[tokio::test]
async fn a_reserved_port_refuses_until_it_is_listened_on() {
    use tokio::net::TcpStream;
    let port = ReservedPort::new();
    let refused = async || TcpStream::connect(port.address).await.unwrap_err().kind();
    assert_eq!(refused().await, std::io::ErrorKind::ConnectionRefused);
    for _ in 0..2 {
        let listener = port.listen();
        let _stream = TcpStream::connect(port.address).await.unwrap();
        drop(listener);
        assert_eq!(refused().await, std::io::ErrorKind::ConnectionRefused);
    }
}
