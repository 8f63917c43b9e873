#![cfg(target_os = "linux")]

use super::*;
use crate::client::arrival::{LastArrival, TimedStream};
use tokio::io::{AsyncRead as _, AsyncReadExt as _, AsyncWrite as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

/// A machine that stalls makes pieces bunch; until this time they come evenly at some point.
const PATIENCE: Duration = Duration::from_mins(2);

/// Never takes itself for late, on a machine that stalls.
fn gatherer() -> Arc<Gatherer> {
    Gatherer::with_max_late(Tasks::default(), Duration::MAX).unwrap()
}

fn gathered(gatherer: &Gatherer) -> usize {
    gatherer.readers().all.len()
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
    let (mut came, mut last, mut room) = (0, arrival.get(), [0; 64]);
    loop {
        let read = timed.read(&mut room).await.unwrap();
        if read == 0 {
            return (came, timed);
        }
        came += read;
        assert!(arrival.get() >= last && arrival.get() <= Instant::now());
        last = arrival.get();
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
        let (timed, arrival) = TimedStream::new(stream, Some(Arc::clone(&gatherer))).await.unwrap();
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
    until("nobody looks any more", || !gatherer.readers().looking).await;
}

/// A stream that is waited for together with others, and its peer.
async fn one_gathered(gatherer: &Arc<Gatherer>) -> (TimedStream, tokio::net::TcpStream) {
    // Others are paced already.
    gatherer.paced.fetch_add(MIN_STREAMS, Ordering::Relaxed);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let stream = tokio::net::TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (mut peer, _) = listener.accept().await.unwrap();
    let (mut timed, _) = TimedStream::new(stream, Some(Arc::clone(gatherer))).await.unwrap();
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
    (timed, peer)
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
async fn a_stream_says_goodbye_where_no_runtime_is() {
    let gatherer = gatherer();
    let (mut timed, mut peer) = one_gathered(&gatherer).await;
    let elsewhere = std::thread::spawn(move || {
        let cx = &mut Context::from_waker(std::task::Waker::noop());
        let wrote = std::pin::Pin::new(&mut timed).poll_write(cx, b"bye");
        assert!(matches!(wrote, Poll::Ready(Ok(3))));
        let mut room = [0; 8];
        let read = std::pin::Pin::new(&mut timed).poll_read(cx, &mut tokio::io::ReadBuf::new(&mut room));
        assert!(matches!(read, Poll::Ready(Err(_))));
    });
    elsewhere.join().unwrap();
    assert_eq!(peer.read(&mut [0; 8]).await.unwrap(), 3);
    assert_eq!((gathered(&gatherer), paced(&gatherer)), (0, MIN_STREAMS));
}

#[tokio::test]
async fn an_agent_that_is_late_waits_for_each_stream_alone() {
    let strict = Gatherer::with_max_late(Tasks::default(), Duration::ZERO).unwrap();
    Gatherer::look(Arc::downgrade(&strict)).await;
    assert!(strict.late_at.load(Ordering::Relaxed) > 0);
    let gatherer = gatherer();
    Gatherer::look(Arc::downgrade(&gatherer)).await;
    assert!(!gatherer.is_late());
    let (mut timed, mut peer) = one_gathered(&gatherer).await;
    // For ever: the time for which it holds may pass on a machine that stalls.
    gatherer.late_at.store(u64::MAX, Ordering::Relaxed);
    assert!(gatherer.is_late());
    let mut room = [0; 8];
    peer.write_all(b"x").await.unwrap();
    assert_eq!(timed.read(&mut room).await.unwrap(), 1);
    assert_eq!(gathered(&gatherer), 0);
}
