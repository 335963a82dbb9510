/** An upstream server in a separate process, which can be killed, suspended and slowed down. */

import { RunningProgram } from "./program.ts";

const SERVER = `
  const [name, port] = Deno.args;
  let delayMs = 0;
  Deno.serve({
    hostname: "127.0.0.1",
    port: Number(port),
    onListen: (address) => console.log("listening at " + address.port),
  }, async (request) => {
    const { pathname, search } = new URL(request.url);
    if (pathname === "/delay") delayMs = Number(search.slice(1));
    else if (pathname !== "/health" && delayMs > 0) await new Promise((resolve) => setTimeout(resolve, delayMs));
    return new Response(name, { headers: { "x-upstream": name } });
  });
`;

/** A server process. */
export interface ServerProcess extends AsyncDisposable {
  readonly port: number;
  /** `127.0.0.1:port`. */
  readonly address: string;
  /** Delays each response, except those to `/health`. */
  delay(ms: number): Promise<void>;
  /** Suspends it: its port still accepts connections, but there is no response. */
  hang(): void;
  /** Kills it, and resolves when it has ended. */
  kill(): Promise<void>;
}

/** Starts a server whose responses contain its name, and waits until it listens. */
export async function startServerProcess(name: string, port = 0): Promise<ServerProcess> {
  const command = new Deno.Command(Deno.execPath(), {
    args: ["eval", "--no-config", SERVER, name, String(port)],
    env: { NO_COLOR: "1" },
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
  });
  await using stack = new AsyncDisposableStack();
  const program = stack.use(new RunningProgram(command.spawn()));
  const [, found] = await program.stdoutMatch(/listening at (\d+)\n/);
  stack.move();
  return {
    port: Number(found),
    address: `127.0.0.1:${found}`,
    delay: async (ms) => {
      await (await fetch(`http://127.0.0.1:${found}/delay?${ms}`)).body?.cancel();
    },
    hang: () => program.kill("SIGSTOP"),
    kill: async () => {
      program.kill("SIGKILL");
      await program.ended;
    },
    [Symbol.asyncDispose]: () => program[Symbol.asyncDispose](),
  };
}
