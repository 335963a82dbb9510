/** Other servers that serve the files of a folder, each with different path parsing. */

import { RunningProgram } from "./program.ts";

/** Content of `/admin/x`, which requires access. */
export const SECRET = "what only some may see";

/** A server for files. */
export interface FileServer extends AsyncDisposable {
  /** Its address, as for an upstream server. */
  readonly address: string;
  /** Sends one request directly to it, and returns all that was received. */
  ask(target: string): Promise<string>;
}

interface Recipe {
  /** The program that must be installed. */
  readonly command: string;
  /** Arguments; `folder` has the files in `www`, and space for files of the program. */
  args(folder: string): readonly string[];
  /** Its output when it listens, with its port; without a port it listens at `folder/socket`. */
  readonly listening: RegExp;
}

/** Parses paths like most file servers for Node: `parse` computes a path from the target. */
function node(parse: string): Recipe {
  const program = `
    const http = require("http"), fs = require("fs"), path = require("path");
    const root = process.argv[1] + "/www";
    http.createServer((request, response) => {
      try {
        const file = path.join(root, decodeURIComponent((${parse})(request.url)));
        if (!file.startsWith(root)) throw new Error("outside");
        response.end(fs.readFileSync(file));
      } catch {
        response.writeHead(404).end();
      }
    }).listen(0, "127.0.0.1", function () {
      console.error("listening at " + this.address().port);
    });
  `;
  return { command: "node", args: (folder) => ["-e", program, folder], listening: /listening at (\d+)\n/ };
}

const PYTHON = `
import functools, http.server, sys
handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=sys.argv[1] + "/www")
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
print("listening at %d" % server.server_address[1], file=sys.stderr, flush=True)
server.serve_forever()
`;

const RECIPES = {
  nginx: {
    command: "nginx",
    // A single process keeps the user that started it, and can read the folder.
    args: (folder) => ["-e", "stderr", "-p", folder, "-c", `${folder}/nginx.conf`],
    listening: /using the "\w+" event method/,
  },
  "node by URL": node('(target) => new URL(target, "http://localhost").pathname'),
  "node by target": node('(target) => target.split("?")[0]'),
  python: { command: "python3", args: (folder) => ["-c", PYTHON, folder], listening: /listening at (\d+)\n/ },
} satisfies Record<string, Recipe>;

/** Name of a server. */
export type FileServerName = keyof typeof RECIPES;

/** All server names. */
export const FILE_SERVERS: readonly FileServerName[] = Object.keys(RECIPES) as FileServerName[];

/** Defines a test with a server; the test is ignored if it is not installed, and its name says why. */
export function fileServerTest(
  server: FileServerName,
  name: string,
  run: (server: FileServer) => Promise<void>,
): void {
  const { command } = RECIPES[server];
  const installed = isInstalled(command);
  Deno.test({
    name: installed ? name : `${name} (needs ${command}, which is not installed)`,
    ignore: !installed,
    async fn() {
      await using started = await startFileServer(RECIPES[server]);
      await run(started);
    },
  });
}

function isInstalled(command: string): boolean {
  return (Deno.env.get("PATH") ?? "").split(":").some((folder) => {
    try {
      return Deno.statSync(`${folder}/${command}`).isFile;
    } catch {
      return false;
    }
  });
}

async function startFileServer({ command, args, listening }: Recipe): Promise<FileServer> {
  await using stack = new AsyncDisposableStack();
  const folder = await Deno.makeTempDir();
  stack.defer(() => Deno.remove(folder, { recursive: true }));
  await Deno.mkdir(`${folder}/www/admin`, { recursive: true });
  await Deno.writeTextFile(`${folder}/www/x`, "for everybody");
  await Deno.writeTextFile(`${folder}/www/admin/x`, SECRET);
  await Deno.writeTextFile(`${folder}/nginx.conf`, nginxConfig(folder));
  const child = new Deno.Command(command, {
    args: [...args(folder)],
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  const program = stack.use(new RunningProgram(child));
  const [, port] = await program.stderrMatch(listening);
  const held = stack.move();
  const place = port === undefined
    ? { transport: "unix", path: `${folder}/socket` } as const
    : { hostname: "127.0.0.1", port: Number(port) };
  return {
    address: port === undefined ? `unix:${folder}/socket` : `127.0.0.1:${port}`,
    ask: async (target) => {
      const connection = await Deno.connect(place as Deno.ConnectOptions);
      await connection.write(new TextEncoder().encode(`GET ${target} HTTP/1.0\r\nHost: h\r\n\r\n`));
      return await new Response(connection.readable).text();
    },
    [Symbol.asyncDispose]: () => held.disposeAsync(),
  };
}

function nginxConfig(folder: string): string {
  const temp = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
    .map((kind) => `${kind}_temp_path ${folder}/${kind};`);
  return `
    daemon off;
    master_process off;
    pid ${folder}/nginx.pid;
    error_log stderr notice;
    events {}
    http {
      access_log off;
      gzip on;
      gzip_min_length 1;
      gzip_types text/plain;
      ${temp.join("\n")}
      server { listen unix:${folder}/socket; root ${folder}/www; }
    }
  `;
}
