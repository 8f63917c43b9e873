//! `POST /api/auth/login`: exchanges e-mail address and password for an access token and a cookie.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::Response;
use http::{HeaderValue, StatusCode, header};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::json;

use super::{AppPath, accounts, document, read};
use crate::sim::dialect::{Refusal, Service};
use crate::sim::exchange;
use crate::sim::shared::SimShared;

static LOGIN: AppPath = AppPath(Service::Login);

/// The body of a request.
#[derive(Deserialize)]
struct Login {
    email: String,
    password: String,
}

/// Logs in.
pub(super) async fn login(State(shared): State<Arc<SimShared>>, request: Request) -> Response {
    exchange::receive(shared, &LOGIN, request, async move |exchange, _, body| {
        let effects = match exchange.begin(None).await {
            Ok(effects) => effects,
            Err(response) => return *response,
        };
        let accounts = &exchange.shared.app.accounts;
        let token = read::<Login>(body).and_then(|login| {
            if !login.email.contains('@') || login.password.is_empty() {
                return Err(Refusal::Invalid("an e-mail address and a password are needed".to_owned()));
            }
            accounts.log_in(&login.email, &login.password, Timestamp::now(), effects.expired_token)
        });
        let token = match token {
            Ok(token) => token,
            Err(refusal) => return exchange.refuse(&refusal),
        };
        let lifetime = accounts.lifetime().as_secs();
        if effects.no_token {
            let answer = json!({"token_type": "bearer", "expires_in": lifetime});
            return document(&exchange, StatusCode::OK, &answer, effects).await;
        }
        let answer = json!({"access_token": token, "token_type": "bearer", "expires_in": lifetime});
        let mut response = document(&exchange, StatusCode::OK, &answer, effects).await;
        let name = accounts::COOKIE;
        let cookie = format!("{name}={token}; Path=/; Max-Age={lifetime}; HttpOnly; SameSite=Lax");
        if let Ok(cookie) = HeaderValue::from_str(&cookie) {
            response.headers_mut().insert(header::SET_COOKIE, cookie);
        }
        response
    })
    .await
}
