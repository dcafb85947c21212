//! A browser without a screen: pages and forms, called without a socket.

use axum::{body::Body, response::Response};
use http::{Request, StatusCode, header};
use http_body_util::BodyExt;
use tower::ServiceExt;

use super::TestEdge;

/// A browser that is signed in.
pub struct Browser<'a> {
    pub t: &'a TestEdge,
    pub cookie: String,
}

impl<'a> Browser<'a> {
    pub async fn of(t: &'a TestEdge) -> Self {
        Self {
            cookie: t.sign_in().await,
            t,
        }
    }

    pub async fn send(&self, request: Request<Body>) -> Response {
        self.t.edge.router().oneshot(request).await.unwrap()
    }

    pub async fn get(&self, path: &str) -> Response {
        let request = Request::get(path).header(header::COOKIE, &self.cookie);
        self.send(request.body(Body::empty()).unwrap()).await
    }

    /// A page's HTML.
    pub async fn page(&self, path: &str) -> String {
        let response = self.get(path).await;
        assert_eq!(response.status(), StatusCode::OK, "{path}");
        text(response).await
    }

    /// Sends a form as our own page does.
    pub async fn post(&self, path: &str, fields: &[(&str, &str)]) -> Response {
        self.send(self.form(path, fields, "same-origin")).await
    }

    pub fn form(&self, path: &str, fields: &[(&str, &str)], site: &str) -> Request<Body> {
        let mut body = form_urlencoded::Serializer::new(String::new());
        body.extend_pairs(fields);
        Request::post(path)
            .header(header::COOKIE, &self.cookie)
            .header("sec-fetch-site", site)
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(Body::from(body.finish()))
            .unwrap()
    }
}

/// A whole body.
pub async fn text(response: Response) -> String {
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// Where a redirect leads.
pub fn target(response: &Response) -> &str {
    assert_eq!(response.status(), StatusCode::SEE_OTHER);
    response.headers()[header::LOCATION].to_str().unwrap()
}
