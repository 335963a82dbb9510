/** nginx, with one worker or two, and kept connections to the servers. */

import type { Peer, PeerSetup } from "../peer.ts";
import { nginxCommand, nginxConfig } from "../nginx_config.ts";

/** The program with which all others are compared. */
export const nginx: Peer = nginxOf({ name: "nginx", title: "nginx" });

/** nginx with two workers, one per processor. */
export const nginxOfTwo: Peer = nginxOf(
  { name: "nginx-2", title: "nginx, 2 workers", scenarios: ["12b"] },
  2,
);

function nginxOf(names: Pick<Peer, "name" | "title" | "scenarios">, workers = 1): Peer {
  return {
    ...names,
    kind: "proxy",
    program: "nginx",
    install: "apt-get install nginx-light",
    versionArgs: ["-v"],
    async prepare({ port, servers, directory }: PeerSetup) {
      const http = `
  upstream servers {
${servers.map((server) => `    server 127.0.0.1:${server};`).join("\n")}
    keepalive 256;
    keepalive_requests 1000000000;
  }
  server {
    listen 127.0.0.1:${port};
    location / {
      proxy_pass http://servers;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_set_header Host $http_host;
      proxy_set_header X-Forwarded-For $remote_addr;
      proxy_set_header X-Forwarded-Proto $scheme;
      proxy_set_header X-Forwarded-Host $http_host;
      proxy_max_temp_file_size 0;
    }
  }`;
      return await nginxCommand(directory, nginxConfig(directory, http, workers));
    },
  };
}
