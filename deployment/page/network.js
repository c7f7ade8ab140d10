/* Networks run in the page itself, by onnxruntime-web: nothing that is drawn leaves it. */

const RUNTIME = new URL("vendor/", import.meta.url);

/** The response to a request. Throws an Error that names what could not be loaded. */
export async function load(url) {
  const response = await fetch(url).catch(() => null);
  if (!response?.ok) throw new Error(`${new URL(url, import.meta.url).pathname} could not be loaded`);
  return response;
}

/** Load onnxruntime-web, whose WebAssembly has so many bytes; calls `progress` with the bytes that have arrived. */
export async function loadRuntime(bytes, progress) {
  const [ort, binary] = await Promise.all([
    import(new URL("ort.wasm.bundle.min.mjs", RUNTIME)),
    load(new URL("ort-wasm-simd-threaded.wasm", RUNTIME)).then((response) => readAll(response, bytes, progress)),
  ]);
  ort.env.wasm.numThreads = 1; // more need headers that a static host does not send
  ort.env.wasm.wasmBinary = binary;
  return ort;
}

/** The body of a response, of so many bytes: its own length is that of what is sent, which may be packed. */
async function readAll(response, bytes, progress) {
  const all = new Uint8Array(bytes);
  let length = 0;
  for (const reader = response.body.getReader(); ; ) {
    const { done, value } = await reader.read();
    if (done) return all;
    all.set(value, length);
    progress((length += value.length));
  }
}

export class Network {
  /** The network in an ONNX file. Throws an Error with the cause where it cannot be run. */
  static async open(ort, url) {
    const bytes = new Uint8Array(await (await load(url)).arrayBuffer());
    try {
      return new Network(ort, await ort.InferenceSession.create(bytes));
    } catch (error) {
      throw new Error(`the network could not be started (${error.message.trim().split("\n")[0]})`);
    }
  }

  constructor(ort, session) {
    this.ort = ort;
    this.session = session;
  }

  /** The probability of each class for a picture of 784 bytes, white on black. */
  async read(pixels) {
    const input = new this.ort.Tensor("uint8", pixels, [1, 1, 28, 28]);
    return [...(await this.session.run({ pixels: input }, ["probabilities"])).probabilities.data];
  }
}
