/**
 * The proxies, configured so that requests survive the loss of a server: requests are retried at another server, failing
 * servers get no requests for a time, and a connection or a response may take one second.
 */

import type { Peer, PeerSetup } from "../proxy/peer.ts";
import { nginxCommand, nginxConfig } from "../proxy/nginx_config.ts";
import { caddy as plainCaddy } from "../proxy/peers/caddy.ts";
import { haproxy as plainHaproxy } from "../proxy/peers/haproxy.ts";
import { nginx as plainNginx } from "../proxy/peers/nginx.ts";

/** What a {@linkcode FaultPeer} needs in addition. */
export interface FaultSetup extends PeerSetup {
  /** Port of the admin listener; for lbproxy only. */
  readonly adminPort: number;
  /** URL of the Redis server for limits; `""` counts in memory. For lbproxy only. */
  readonly redis: string;
}

/** A proxy of the comparison. */
export interface FaultPeer extends Omit<Peer, "prepare" | "scenarios"> {
  /** The signal that stops it after its running requests. */
  readonly stopSignal: Deno.Signal;
  prepare(setup: FaultSetup): ReturnType<Peer["prepare"]>;
}

function lbproxy(engine: "http1" | "deno"): FaultPeer {
  return {
    name: `lbproxy-${engine}`,
    title: `lbproxy, ${engine}`,
    kind: "lbproxy",
    program: Deno.execPath(),
    install: "it is the program that runs this",
    versionArgs: ["--version"],
    stopSignal: "SIGTERM",
    prepare: ({ port, servers, root, adminPort, redis }) =>
      Promise.resolve({
        command: Deno.execPath(),
        args: [
          "run",
          "-A",
          `${root}/mod.ts`,
          `${root}/bench/faults/proxy.config.ts`,
          "--log-level",
          "error",
          "--engine",
          engine,
        ],
        env: {
          FAULTS_LISTEN: String(port),
          FAULTS_ADMIN: String(adminPort),
          FAULTS_SERVERS: servers.map((server) => `127.0.0.1:${server}`).join(),
          FAULTS_REDIS: redis,
        },
      }),
  };
}

const nginx: FaultPeer = {
  ...plainNginx,
  stopSignal: "SIGQUIT",
  async prepare({ port, servers, directory }) {
    const http = `
  upstream servers {
${servers.map((server) => `    server 127.0.0.1:${server};`).join("\n")}
    keepalive 64;
  }
  server {
    listen 127.0.0.1:${port};
    location / {
      proxy_pass http://servers;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_connect_timeout 1s;
      proxy_read_timeout 1s;
      proxy_send_timeout 1s;
      proxy_next_upstream error timeout http_502 http_503 http_504;
    }
  }`;
    return await nginxCommand(directory, nginxConfig(directory, http));
  },
};

const haproxy: FaultPeer = {
  ...plainHaproxy,
  stopSignal: "SIGUSR1",
  async prepare({ port, servers, directory }) {
    const file = `${directory}/haproxy.cfg`;
    await Deno.writeTextFile(
      file,
      `global
  nbthread 1
defaults
  mode http
  http-reuse always
  retries 3
  option redispatch 1
  retry-on conn-failure empty-response junk-response response-timeout
  timeout connect 1s
  timeout client 60s
  timeout server 1s
  timeout queue 1s
frontend clients
  bind 127.0.0.1:${port}
  default_backend servers
backend servers
  balance roundrobin
${servers.map((server, i) => `  server s${i} 127.0.0.1:${server} check inter 1s fall 2 rise 1`).join("\n")}
`,
    );
    return { command: "haproxy", args: ["-db", "-q", "-f", file] };
  },
};

const caddy: FaultPeer = {
  ...plainCaddy,
  stopSignal: "SIGTERM",
  async prepare({ port, servers, directory }) {
    const file = `${directory}/Caddyfile`;
    await Deno.writeTextFile(
      file,
      `{
  admin off
  auto_https off
  grace_period 10s
  log {
    output discard
  }
}
http://127.0.0.1:${port} {
  reverse_proxy ${servers.map((server) => `127.0.0.1:${server}`).join(" ")} {
    lb_policy round_robin
    lb_retries 3
    lb_try_duration 3s
    lb_try_interval 25ms
    fail_duration 10s
    max_fails 5
    transport http {
      dial_timeout 1s
      response_header_timeout 1s
      keepalive_idle_conns_per_host 256
    }
  }
}
`,
    );
    const env = { GOMAXPROCS: "1", XDG_DATA_HOME: directory, XDG_CONFIG_HOME: directory };
    return { command: "caddy", args: ["run", "--adapter", "caddyfile", "--config", file], env };
  },
};

/** All proxies, in the order of the output. */
export const FAULT_PEERS: readonly FaultPeer[] = [lbproxy("http1"), lbproxy("deno"), nginx, haproxy, caddy];
