//! Decodes long documents off the threads that take timestamps.

use crate::client::body_decoder::BodyDecoder;
use crate::cpu_pool::{CpuPool, Unfinished};
use crate::event::Failure;
use tokio::time::Instant;

/// Decodes a long document, after all its timestamps were taken, on a thread where it delays no other request.
pub(super) async fn decode_aside(cpu_pool: &CpuPool, body_decoder: &mut BodyDecoder, until: Instant) {
    let Some(document) = body_decoder.long_document() else { return };
    let (failure, said) = match cpu_pool.run_exclusive_within(until, move || document.decode()).await {
        Ok(result) => return body_decoder.decoded(result),
        Err(Unfinished::Panicked) => (Failure::Internal, "decoding the answer panicked"),
        Err(Unfinished::NotStarted) => {
            (Failure::Internal, "the answer was not decoded in time, because this agent was busy")
        }
        Err(Unfinished::TooLong) => {
            (Failure::TotalTimeout, "the answer came in time, and was still being decoded at the timeout")
        }
    };
    body_decoder.fail(Instant::now(), failure, said.into());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::body_decoder::Mode;
    use crate::client::dialect::{Decoder, Malformed};
    use crate::event::Outcome;
    use crate::exchange::Delta;
    use crate::framing::Event;
    use std::sync::Arc;
    use std::time::Duration;

    /// A decoder with a bug.
    struct Faulty;

    impl Decoder for Faulty {
        fn decode_event(&self, _: Event<'_>) -> Result<Delta, Malformed> {
            panic!("a bug")
        }

        fn decode_whole(&self, _: &[u8]) -> Result<Delta, Malformed> {
            panic!("a bug")
        }

        fn places(&self, _: bool) -> Option<String> {
            None
        }
    }

    #[tokio::test]
    async fn a_decoder_that_panics_is_our_own_fault() {
        let now = Instant::now();
        let mut body_decoder = BodyDecoder::new(Arc::new(Faulty), Mode::Whole);
        body_decoder.frame(now, &vec![b'1'; 20 << 10]);
        body_decoder.end_of_body(now);
        decode_aside(&CpuPool::start().unwrap(), &mut body_decoder, now + Duration::from_hours(1)).await;
        let read = body_decoder.close(now);
        assert_eq!(read.outcome, Outcome::Failed(Failure::Internal));
        assert_eq!(read.detail.as_deref(), Some("decoding the answer panicked"));
    }

    /// A decoder that blocks until the test lets it continue.
    struct Slow(std::sync::Mutex<std::sync::mpsc::Receiver<()>>);

    impl Decoder for Slow {
        fn decode_event(&self, _: Event<'_>) -> Result<Delta, Malformed> {
            Ok(Delta::default())
        }

        fn decode_whole(&self, _: &[u8]) -> Result<Delta, Malformed> {
            let _ = self.0.lock().unwrap().recv();
            Ok(Delta::default())
        }

        fn places(&self, _: bool) -> Option<String> {
            None
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_document_is_decoded_within_the_time_of_its_request() {
        let (release, held) = std::sync::mpsc::channel();
        let now = Instant::now();
        let mut body_decoder = BodyDecoder::new(Arc::new(Slow(std::sync::Mutex::new(held))), Mode::Whole);
        body_decoder.frame(now, &vec![b'1'; 20 << 10]);
        body_decoder.end_of_body(now);
        let cpu_pool = CpuPool::start().unwrap();
        decode_aside(&cpu_pool, &mut body_decoder, now + Duration::from_secs(30)).await;
        assert_eq!(now.elapsed(), Duration::from_secs(30));
        let read = body_decoder.close(now);
        assert_eq!(read.outcome, Outcome::Failed(Failure::TotalTimeout));
        assert!(read.detail.unwrap().contains("still being decoded at the timeout"));
        drop(release);
    }
}
