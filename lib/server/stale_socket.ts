/** Unix sockets that a process has left behind. */

/**
 * Removes a socket that nobody listens at any more; leaves everything else where it is.
 *
 * A process that is killed leaves its socket behind, and the next one could not listen at the same path.
 */
export async function removeStaleSocket(path: string): Promise<void> {
  let connection: Deno.Conn;
  try {
    if ((await Deno.lstat(path)).isSocket !== true) return;
    connection = await Deno.connect({ transport: "unix", path });
  } catch (error) {
    if (error instanceof Deno.errors.ConnectionRefused) await Deno.remove(path);
    return;
  }
  connection.close();
}
