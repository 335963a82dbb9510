/** The servers behind every program: two instances of nginx. */

import { freePort } from "./free_port.ts";
import { nginxCommand, nginxConfig } from "./nginx_config.ts";
import { type RunningProgram, startProgram } from "./running_program.ts";
import { SCENARIOS } from "./scenarios.ts";

/** Starts the servers in a directory; the caller stops them. */
export async function startServers(directory: string): Promise<RunningProgram[]> {
  const files = `${directory}/files`;
  await Deno.mkdir(files, { recursive: true });
  for (const { path, responseBytes } of SCENARIOS) {
    if (responseBytes > 12) await Deno.writeFile(files + path, new Uint8Array(responseBytes).fill(0x61));
  }
  return [await startServer(`${directory}/1`, files), await startServer(`${directory}/2`, files)];
}

async function startServer(directory: string, files: string): Promise<RunningProgram> {
  await Deno.mkdir(directory, { recursive: true });
  const port = freePort();
  const http = `
  open_file_cache max=100;
  server {
    listen 127.0.0.1:${port};
    root ${files};
    location = /12 { return 200 "Hello world\\n"; }
  }`;
  return await startProgram(await nginxCommand(directory, nginxConfig(directory, http)), port);
}
