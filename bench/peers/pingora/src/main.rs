//! The proxy of the Pingora tutorial with plain HTTP servers behind it and without a limit.
//!
//! `pingora-peer LISTEN SERVER...`, each as `host:port`; one worker thread.

use std::{env, sync::Arc};

use async_trait::async_trait;
use pingora::lb::selection::RoundRobin;
use pingora::lb::LoadBalancer;
use pingora::prelude::*;
use pingora::server::configuration::ServerConf;

struct Balanced {
    servers: Arc<LoadBalancer<RoundRobin>>,
}

#[async_trait]
impl ProxyHttp for Balanced {
    type CTX = ();

    fn new_ctx(&self) {}

    async fn upstream_peer(&self, _session: &mut Session, _ctx: &mut ()) -> Result<Box<HttpPeer>> {
        let server = self.servers.select(b"", 256).expect("static servers are always healthy");
        Ok(Box::new(HttpPeer::new(server, false, String::new())))
    }
}

fn main() {
    let mut arguments = env::args().skip(1);
    let listen = arguments.next().expect("usage: pingora-peer LISTEN SERVER...");
    if listen == "--version" {
        println!("pingora 0.8");
        return;
    }
    let servers = LoadBalancer::<RoundRobin>::try_from_iter(arguments).expect("servers must be host:port");
    let conf = ServerConf { threads: 1, ..ServerConf::default() };
    let mut server = Server::new_with_opt_and_conf(None, conf);
    server.bootstrap();
    let mut service = http_proxy_service(&server.configuration, Balanced { servers: Arc::new(servers) });
    service.add_tcp(&listen);
    server.add_service(service);
    server.run_forever();
}
