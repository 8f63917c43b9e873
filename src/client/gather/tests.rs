#![cfg(target_os = "linux")]

use super::pace::{MIN_GAP, PACED};
use super::*;
use crate::client::arrival::{LastArrival, TimedStream};
use tokio::io::{AsyncRead as _, AsyncReadExt as _, AsyncWrite as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

/// A machine that stalls makes pieces bunch; until this time they come evenly at some point.
const PATIENCE: Duration = Duration::from_mins(2);

fn gatherer() -> Arc<Gatherer> {
    Gatherer::new(Tasks::default()).unwrap()
}

fn gathered(gatherer: &Gatherer) -> usize {
    gatherer.sockets().all.len()
}

/// The socket of the only one.
fn only(gatherer: &Gatherer) -> Arc<AnswerSocket> {
    gatherer.sockets().all.iter().next().map(|(_, socket)| Arc::clone(socket)).unwrap()
}

fn paced(gatherer: &Gatherer) -> usize {
    gatherer.paced.load(Ordering::Relaxed)
}

async fn until(what: &str, condition: impl Fn() -> bool) {
    let began = Instant::now();
    while !condition() {
        assert!(began.elapsed() < PATIENCE, "{what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

#[test]
fn a_stream_is_paced_while_its_pieces_keep_their_distance() {
    let gatherer = gatherer();
    let mut pace = StreamPace::new(Some(Arc::clone(&gatherer)));
    let mut at = Instant::now();
    let mut arrive = |pace: &mut StreamPace, gap: Duration| {
        at += gap;
        pace.arrived(at);
        pace.keeps()
    };
    // The first piece has no distance.
    let far = MIN_GAP;
    let later: Vec<_> = (0..=PACED).map(|_| arrive(&mut pace, far)).collect();
    assert_eq!(later.iter().filter(|it| **it).count(), 1, "{later:?}");
    assert!(*later.last().unwrap() && paced(&gatherer) == 1);
    let close = MIN_GAP / 2;
    assert!(arrive(&mut pace, close), "one alone changes nothing");
    while arrive(&mut pace, close) {}
    assert_eq!(paced(&gatherer), 0);
    // Every other piece comes too soon.
    assert!((0..100).all(|n| !arrive(&mut pace, if n % 2 == 0 { far } else { close })));
    for _ in 0..PACED {
        arrive(&mut pace, far);
    }
    assert!(pace.keeps());
    pace.begin();
    assert!(!pace.keeps() && paced(&gatherer) == 0);
    for _ in 0..=PACED {
        arrive(&mut pace, far);
    }
    assert_eq!(paced(&gatherer), 1);
    drop(pace);
    assert_eq!(paced(&gatherer), 0);
}

/// Sends a byte every few milliseconds until it is told to stop, then another word.
async fn send(
    mut peer: tokio::net::TcpStream,
    stop: tokio_util::sync::CancellationToken,
) -> (usize, tokio::net::TcpStream) {
    let mut sent = 0;
    while !stop.is_cancelled() {
        tokio::time::sleep(MIN_GAP + Duration::from_millis(3)).await;
        peer.write_all(b"x").await.unwrap();
        sent += 1;
    }
    (sent, peer)
}

async fn receive(mut timed: TimedStream, arrival: Arc<LastArrival>) -> (usize, TimedStream) {
    let (mut came, mut last, mut room) = (0, arrival.get().at, [0; 64]);
    loop {
        let read = timed.read(&mut room).await.unwrap();
        if read == 0 {
            return (came, timed);
        }
        came += read;
        assert!(arrival.get().at >= last && arrival.get().at <= Instant::now());
        last = arrival.get().at;
    }
}

#[tokio::test]
async fn paced_streams_are_read_together_and_nothing_is_lost() {
    let gatherer = gatherer();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let stop = tokio_util::sync::CancellationToken::new();
    let (mut senders, mut readers, mut arrivals) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..MIN_STREAMS + 8 {
        let stream = tokio::net::TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (peer, _) = listener.accept().await.unwrap();
        let (timed, arrival) = TimedStream::new(stream, Some(Arc::clone(&gatherer)), true).unwrap();
        senders.push(tokio::spawn(send(peer, stop.clone())));
        readers.push(tokio::spawn(receive(timed, Arc::clone(&arrival))));
        arrivals.push(arrival);
    }
    until("many are read together", || gathered(&gatherer) >= MIN_STREAMS / 2).await;
    // An answer that ends leaves the others, once it is looked at.
    for arrival in &arrivals {
        arrival.end();
    }
    until("an answer ends", || gathered(&gatherer) < MIN_STREAMS / 4).await;
    until("they are read together again", || gathered(&gatherer) >= MIN_STREAMS / 2).await;
    stop.cancel();
    let mut sent = 0;
    for sender in senders {
        let (count, peer) = sender.await.unwrap();
        sent += count;
        // The end of a stream is seen, however it is waited for.
        drop(peer);
    }
    let (mut came, mut streams) = (0, Vec::new());
    for reader in readers {
        let (count, stream) = reader.await.unwrap();
        came += count;
        streams.push(stream);
    }
    assert_eq!(came, sent);
    drop(streams);
    assert_eq!((gathered(&gatherer), paced(&gatherer)), (0, 0));
    until("nobody looks any more", || !gatherer.sockets().looking).await;
}

/// A stream that is waited for together with others, and its peer.
async fn one_gathered(gatherer: &Arc<Gatherer>) -> (TimedStream, tokio::net::TcpStream) {
    let (timed, peer, _) = gathered_with(gatherer, false).await;
    (timed, peer)
}

/// The same, with what is known of its arrival; pieces that are not `in_chunks` are handed over at once.
async fn gathered_with(
    gatherer: &Arc<Gatherer>,
    in_chunks: bool,
) -> (TimedStream, tokio::net::TcpStream, Arc<LastArrival>) {
    // Others are paced already.
    gatherer.paced.fetch_add(MIN_STREAMS, Ordering::Relaxed);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let stream = tokio::net::TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (mut peer, _) = listener.accept().await.unwrap();
    let (mut timed, arrival) = TimedStream::new(stream, Some(Arc::clone(gatherer)), true).unwrap();
    let (mut room, began) = ([0; 8], Instant::now());
    while gathered(gatherer) == 0 {
        assert!(began.elapsed() < PATIENCE);
        let sending = async {
            tokio::time::sleep(MIN_GAP + Duration::from_millis(3)).await;
            peer.write_all(b"x").await
        };
        let (sent, read) = tokio::join!(sending, timed.read(&mut room));
        sent.unwrap();
        assert!(read.unwrap() > 0);
    }
    arrival.begin_body(in_chunks);
    (timed, peer, arrival)
}

#[tokio::test]
async fn what_is_written_ends_the_pace() {
    let gatherer = gatherer();
    let (mut timed, mut peer) = one_gathered(&gatherer).await;
    timed.write_all(b"hello").await.unwrap();
    assert_eq!(paced(&gatherer), MIN_STREAMS);
    let mut room = [0; 8];
    assert_eq!(peer.read(&mut room).await.unwrap(), 5);
    peer.write_all(b"world").await.unwrap();
    assert_eq!(timed.read(&mut room).await.unwrap(), 5);
    assert_eq!(gathered(&gatherer), 0);
}

#[tokio::test]
async fn a_request_that_follows_an_answer_is_written_at_once() {
    let gatherer = gatherer();
    let (mut timed, mut peer, arrival) = gathered_with(&gatherer, false).await;
    arrival.end();
    let cx = &mut Context::from_waker(std::task::Waker::noop());
    let read = std::pin::Pin::new(&mut timed).poll_read(cx, &mut ReadBuf::new(&mut [0; 8]));
    assert!(read.is_pending() && gathered(&gatherer) == 0);
    // The runtime has not looked at the socket yet.
    let wrote = std::pin::Pin::new(&mut timed).poll_write(cx, b"hello");
    assert!(matches!(wrote, Poll::Ready(Ok(5))));
    assert_eq!(peer.read(&mut [0; 8]).await.unwrap(), 5);
}

#[tokio::test]
async fn a_stream_says_goodbye_where_no_runtime_is() {
    let gatherer = gatherer();
    let (mut timed, mut peer) = one_gathered(&gatherer).await;
    let elsewhere = std::thread::spawn(move || {
        let cx = &mut Context::from_waker(std::task::Waker::noop());
        let wrote = std::pin::Pin::new(&mut timed).poll_write(cx, b"bye");
        assert!(matches!(wrote, Poll::Ready(Ok(3))));
        let mut room = [0; 8];
        let read = std::pin::Pin::new(&mut timed).poll_read(cx, &mut ReadBuf::new(&mut room));
        assert!(matches!(read, Poll::Ready(Err(_))));
    });
    elsewhere.join().unwrap();
    assert_eq!(peer.read(&mut [0; 8]).await.unwrap(), 3);
    assert_eq!((gathered(&gatherer), paced(&gatherer)), (0, MIN_STREAMS));
}

/// Writes, and waits until it can be read.
async fn bring(peer: &mut tokio::net::TcpStream, socket: &AnswerSocket, bytes: &[u8]) {
    peer.write_all(bytes).await.unwrap();
    // Not by the runtime, which would look meanwhile.
    while socket.stream.peek(&mut [0]).is_err() {
        std::thread::yield_now();
    }
}

#[tokio::test]
async fn pieces_of_chunks_are_held_and_the_last_one_is_not() {
    let gatherer = gatherer();
    let (mut timed, mut peer, arrival) = gathered_with(&gatherer, true).await;
    let socket = only(&gatherer);
    let mut written = Vec::new();
    let mut due = Vec::new();
    for bytes in [&b"5\r\nhello\r\n"[..], b"5\r\nthere\r\n", b"0\r\n\r\n"] {
        written.push(Instant::now());
        bring(&mut peer, &socket, bytes).await;
        due.push(socket.reader().hold(&socket.stream));
        std::thread::sleep(MIN_GAP);
    }
    assert_eq!(due, [false, false, true]);
    let (mut room, mut came) = ([0; 64], Vec::new());
    for _ in 0..3 {
        let read = timed.read(&mut room).await.unwrap();
        came.push((room[..read].to_vec(), arrival.get().at));
    }
    assert_eq!(came[1].0, b"5\r\nthere\r\n", "each is read by itself");
    for ((_, at), written) in came.iter().zip(&written) {
        assert!(at >= written);
    }
    assert!(came[0].1 < written[1] && came[1].1 < written[2], "each has its own time: {came:?} {written:?}");
}

#[tokio::test]
async fn a_deadline_after_a_pause_sees_what_is_held_and_what_has_come() {
    let gatherer = gatherer();
    let (mut timed, mut peer, _) = gathered_with(&gatherer, true).await;
    let socket = only(&gatherer);
    bring(&mut peer, &socket, b"5\r\nhello\r\n").await;
    assert!(!socket.reader().hold(&socket.stream));
    bring(&mut peer, &socket, b"5\r\nthere\r\n").await;
    // The process stands still, and then the reader is asked before the next look.
    std::thread::sleep(2 * MAX_LATE);
    let cx = &mut Context::from_waker(std::task::Waker::noop());
    for expected in ["5\r\nhello\r\n", "5\r\nthere\r\n"] {
        let (mut room, mut timed) = ([0; 64], std::pin::Pin::new(&mut timed));
        let mut buf = ReadBuf::new(&mut room);
        assert!(matches!(timed.as_mut().poll_read(cx, &mut buf), Poll::Ready(Ok(()))));
        assert_eq!(buf.filled(), expected.as_bytes());
    }
}

#[tokio::test]
async fn an_end_that_comes_with_the_last_piece_is_seen() {
    let gatherer = gatherer();
    let (mut timed, mut peer, _) = gathered_with(&gatherer, true).await;
    let socket = only(&gatherer);
    bring(&mut peer, &socket, b"5\r\nhello\r\n").await;
    drop(peer);
    let mut came = Vec::new();
    let all = timed.read_to_end(&mut came);
    assert_eq!(tokio::time::timeout(PATIENCE, all).await.unwrap().unwrap(), 10);
}

#[tokio::test]
async fn who_held_pieces_when_it_left_waits_for_none_when_it_is_back() {
    let gatherer = gatherer();
    let (timed, _peer, _) = gathered_with(&gatherer, true).await;
    let socket = only(&gatherer);
    {
        let mut reader = socket.reader();
        (reader.is_listed, reader.is_closed) = (true, true);
    }
    drop(timed);
    let _back = gatherer.join(&socket).unwrap();
    let reader = socket.reader();
    assert_eq!((gathered(&gatherer), reader.is_listed, reader.is_closed), (1, false, false));
}
