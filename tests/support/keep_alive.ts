/** Keeps the event loop of a test running while it only waits for timers that do not. */
export function keepAlive(): Disposable {
  const id = setInterval(() => {}, 60_000);
  return { [Symbol.dispose]: () => clearInterval(id) };
}
