/**
 * Memory shared by processes. Deno has no such API: `SharedArrayBuffer` is limited to a process, and Workers that could
 * share one cannot be ended while they loop, nor survive one that has used up its memory (Deno 2.9.6).
 */

/** Anonymous memory, freed when the last process that has it open has ended. */
export interface SharedMemory {
  readonly buffer: ArrayBuffer;
  /** File descriptor, which processes started from now on inherit. */
  readonly descriptor: number;
}

const SYMBOLS = {
  memfd_create: { parameters: ["buffer", "u32"], result: "i32" },
  ftruncate: { parameters: ["i32", "i64"], result: "i32" },
  open: { parameters: ["buffer", "i32"], result: "i32" },
  close: { parameters: ["i32"], result: "i32" },
  mmap: { parameters: ["pointer", "usize", "i32", "i32", "i32", "i64"], result: "pointer" },
} as const;

/** `PROT_READ | PROT_WRITE`, `MAP_SHARED`, and `MAP_PRIVATE | MAP_FIXED | MAP_ANONYMOUS | MAP_NORESERVE`. */
const READ_WRITE = 3;
const MAP_SHARED = 1;
const MAP_NOTHING = 0x4032;
const O_RDWR = 2;

/**
 * Makes memory full of zeros.
 *
 * @throws {Deno.errors.NotCapable} without `--allow-ffi`
 * @throws {Error} when the system refuses it
 */
export function createSharedMemory(byteLength: number): SharedMemory {
  using libc = openLibc();
  const { memfd_create, ftruncate } = libc.symbols;
  // Without MFD_CLOEXEC, so that processes started later inherit it.
  const descriptor = memfd_create(new TextEncoder().encode("lbproxy\0"), 0);
  try {
    if (descriptor < 0 || ftruncate(descriptor, BigInt(byteLength)) !== 0) {
      throw new Error(`Cannot make shared memory of ${byteLength} bytes`);
    }
    return { buffer: map(libc, descriptor, byteLength), descriptor };
  } catch (error) {
    if (descriptor >= 0) libc.symbols.close(descriptor);
    throw error;
  }
}

/** Opens memory that this process has inherited; throws as {@linkcode createSharedMemory}. */
export function inheritSharedMemory(descriptor: number, byteLength: number): ArrayBuffer {
  using libc = openLibc();
  try {
    return map(libc, descriptor, byteLength);
  } finally {
    // Otherwise the open descriptor would keep the memory after every process has unmapped it.
    libc.symbols.close(descriptor);
  }
}

/**
 * Frees memory, as soon as every process has. The addresses stay valid in this process, and contain private zeros, so
 * that code that still reads them does not crash.
 *
 * @param descriptor descriptor in the process that made the memory; `null` in others
 */
export function letGoOfSharedMemory(buffer: ArrayBuffer, descriptor: number | null): void {
  using libc = openLibc();
  const address = Deno.UnsafePointer.of(new Uint8Array(buffer));
  libc.symbols.mmap(address, BigInt(buffer.byteLength), READ_WRITE, MAP_NOTHING, -1, 0n);
  if (descriptor !== null) libc.symbols.close(descriptor);
}

/** Opens memory that another process has made after this one started; throws like {@linkcode createSharedMemory}. */
export function openSharedMemory(owner: number, descriptor: number, byteLength: number): ArrayBuffer {
  using libc = openLibc();
  const own = libc.symbols.open(new TextEncoder().encode(`/proc/${owner}/fd/${descriptor}\0`), O_RDWR);
  if (own < 0) throw new Error(`Cannot open shared memory of process ${owner}`);
  try {
    return map(libc, own, byteLength);
  } finally {
    libc.symbols.close(own);
  }
}

type Libc = Deno.DynamicLibrary<typeof SYMBOLS>;

function openLibc(): Libc & Disposable {
  const libc = Deno.dlopen("libc.so.6", SYMBOLS);
  return { symbols: libc.symbols, close: () => libc.close(), [Symbol.dispose]: () => libc.close() };
}

function map({ symbols }: Libc, descriptor: number, byteLength: number): ArrayBuffer {
  const address = symbols.mmap(null, BigInt(byteLength), READ_WRITE, MAP_SHARED, descriptor, 0n);
  // MAP_FAILED is -1.
  if (address === null || Deno.UnsafePointer.value(address) === 0xffff_ffff_ffff_ffffn) {
    throw new Error(`Cannot map shared memory of ${byteLength} bytes`);
  }
  return Deno.UnsafePointerView.getArrayBuffer(address, byteLength);
}
