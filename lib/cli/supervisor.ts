/** Tells systemd how the program fares (sd_notify), for units of `Type=notify`. */

/** What the program needs of a socket for datagrams. */
interface DatagramSocket {
  send(bytes: Uint8Array, address: { transport: "unixpacket"; path: string }): Promise<number>;
  close(): void;
}

type ListenDatagram = (options: { transport: "unixpacket"; path: string }) => DatagramSocket;

/** Whoever has started the program and wants to know when it is ready. */
export class Supervisor implements Disposable {
  readonly #path: string;
  readonly #own: string;
  readonly #socket: DatagramSocket;
  #sending: Promise<unknown> = Promise.resolve();

  private constructor(path: string, own: string, socket: DatagramSocket) {
    this.#path = path;
    this.#own = own;
    this.#socket = socket;
  }

  /**
   * Finds the supervisor; `null` when there is none, or the environment may not be read.
   *
   * @throws {Error} when there is one, and nothing can be said to it
   */
  static find(): Supervisor | null {
    const path = variable("NOTIFY_SOCKET");
    if (path === null) return null;
    const { listenDatagram } = Deno as unknown as { listenDatagram?: ListenDatagram };
    if (listenDatagram === undefined) {
      throw new Error("NOTIFY_SOCKET is set (Type=notify): run with --unstable-net, or make it Type=exec");
    }
    // The socket needs a name of its own, in a folder where the program may write.
    const own = `${variable("RUNTIME_DIRECTORY") ?? "/tmp"}/notify-${Deno.pid}`;
    const socket = listenDatagram({ transport: "unixpacket", path: own });
    return new Supervisor(path.replace(/^@/, "\0"), own, socket);
  }

  /** The program takes requests. */
  ready(): void {
    this.#tell(`READY=1\nMAINPID=${Deno.pid}`);
  }

  /** It has begun to stop. */
  stopping(): void {
    this.#tell("STOPPING=1");
  }

  /** Sets what `systemctl status` shows. */
  status(text: string): void {
    this.#tell(`STATUS=${text.replaceAll("\n", " ")}`);
  }

  #tell(state: string): void {
    const address = { transport: "unixpacket", path: this.#path } as const;
    const bytes = new TextEncoder().encode(state);
    this.#sending = this.#sending.then(() => this.#socket.send(bytes, address)).catch(() => {});
  }

  /** Says nothing more. */
  [Symbol.dispose](): void {
    this.#sending.then(() => {
      this.#socket.close();
      Deno.removeSync(this.#own);
    }).catch(() => {});
  }
}

function variable(name: string): string | null {
  try {
    return Deno.env.get(name) ?? null;
  } catch {
    // Not allowed: there is no way to find out.
    return null;
  }
}
