/** A cluster of `redis-server`s on loopback. */

import { deadPort } from "./dead_port.ts";
import { RedisServer } from "./redis_server.ts";

const SLOTS = 16384;

/** Servers without replicas, each with a part of the slots. */
export class RedisCluster implements AsyncDisposable {
  readonly #stack: AsyncDisposableStack;
  readonly nodes: readonly RedisServer[];

  private constructor(stack: AsyncDisposableStack, nodes: readonly RedisServer[]) {
    this.#stack = stack;
    this.nodes = nodes;
  }

  /** Starts this number of servers, and waits until each of them knows the owners of all slots. */
  static async start(count: number): Promise<RedisCluster> {
    await using stack = new AsyncDisposableStack();
    const nodes: RedisServer[] = [];
    const busPorts: number[] = [];
    for (let i = 0; i < count; i++) {
      const folder = await Deno.makeTempDir();
      stack.defer(() => Deno.remove(folder, { recursive: true }));
      const node = await RedisServer.start(() => {
        busPorts[i] = deadPort();
        return [
          ...["--cluster-enabled", "yes", "--cluster-config-file", `${folder}/nodes.conf`],
          ...["--cluster-port", String(busPorts[i])],
        ];
      });
      nodes.push(stack.use(node));
    }
    for (const [i, node] of nodes.entries()) {
      const [first, last] = [i, i + 1].map((part) => Math.ceil(part * SLOTS / count));
      await node.command("CLUSTER", "ADDSLOTSRANGE", String(first), String(last! - 1));
      await node.command("CLUSTER", "MEET", "127.0.0.1", String(nodes[0]!.port), String(busPorts[0]));
    }
    await Promise.all(nodes.map((node) => node.untilLogged("Cluster state changed: ok")));
    return new RedisCluster(stack.move(), nodes);
  }

  /** The server that owns a key. */
  async ownerOf(key: string): Promise<RedisServer> {
    for (const node of this.nodes) if (!(await node.command("EXISTS", key)).startsWith("-")) return node;
    throw new Error(`no server has the key ${key}`);
  }

  /** Moves the slot of a key, which must be empty, to another server. */
  async move(key: string, to: RedisServer): Promise<void> {
    const id = /[0-9a-f]{40}/.exec(await to.command("CLUSTER", "MYID"))![0];
    const slot = (await to.command("CLUSTER", "KEYSLOT", key)).slice(1).trim();
    // The new owner first, so that the slot always has an owner.
    for (const node of [to, ...this.nodes]) await node.command("CLUSTER", "SETSLOT", slot, "NODE", id);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#stack.disposeAsync();
  }
}
