//! What a request holds while its answer is read: there may be thousands of them at a time.

use super::server::*;
use crate::client::Caller as _;
use crate::event::Outcome;

/// What comes before the answer and after it has its own memory, for as long as it takes.
const MOST: usize = 4 << 10;

#[tokio::test]
async fn a_request_is_small_while_its_answer_is_read() {
    let server = Server::always(good_stream()).await;
    let client = client(server.target());
    let request = client.call(client.prepare(&ask(true)), context());
    let held = size_of_val(&*request);
    assert!(held <= MOST, "{held} bytes");
    assert_eq!(request.await.outcome, Outcome::Ok);
}
