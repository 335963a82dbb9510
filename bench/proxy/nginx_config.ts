/** Configurations of nginx that write only into a given directory. */

import type { PeerCommand } from "./peer.ts";

/** A configuration without an access log; `http` is the content of its `http` block. */
export function nginxConfig(directory: string, http: string, workers = 1): string {
  const temp = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
    .map((kind) => `  ${kind}_temp_path ${directory}/${kind};`).join("\n");
  return `daemon off;
worker_processes ${workers};
pid ${directory}/nginx.pid;
error_log stderr error;
events { worker_connections 16384; }
http {
  access_log off;
  default_type text/plain;
  sendfile on;
  tcp_nopush on;
  keepalive_requests 1000000000;
  keepalive_timeout 1h;
  client_body_buffer_size 64k;
${temp}
${http}
}
`;
}

/** Writes the configuration, and returns the command that starts nginx with it. */
export async function nginxCommand(directory: string, config: string): Promise<PeerCommand> {
  const file = `${directory}/nginx.conf`;
  await Deno.writeTextFile(file, config);
  return { command: "nginx", args: ["-e", "stderr", "-p", directory, "-c", file] };
}
