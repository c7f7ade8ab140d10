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
    load(new URL("ort-wasm-simd-threaded.wasm.packed", RUNTIME)).then((response) => unpack(response, bytes, progress)),
  ]);
  ort.env.wasm.numThreads = 1; // more need headers that a static host does not send
  ort.env.wasm.wasmBinary = binary;
  return ort;
}

/** The unpacked body of a response, of so many bytes. */
async function unpack(response, bytes, progress) {
  const all = new Uint8Array(bytes);
  let length = 0;
  try {
    for (const reader = response.body.pipeThrough(new DecompressionStream("gzip")).getReader(); ; ) {
      const { done, value } = await reader.read();
      if (done) return all;
      all.set(value, length);
      progress((length += value.length));
    }
  } catch (error) {
    throw new Error(`onnxruntime-web could not be unpacked (${error.message})`);
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

  /** What it makes of pictures of 784 bytes, white on black: for each an object with the values of the outputs named,
   * such as the probability of each class. */
  async read(pictures, names = ["probabilities"]) {
    const bytes = new Uint8Array(784 * pictures.length);
    pictures.forEach((picture, index) => bytes.set(picture, 784 * index));
    const pixels = new this.ort.Tensor("uint8", bytes, [pictures.length, 1, 28, 28]);
    const outputs = await this.session.run({ pixels }, names);
    const part = ({ data }, index) => {
      const length = data.length / pictures.length;
      return data.subarray(index * length, (index + 1) * length);
    };
    return pictures.map((_, index) => Object.fromEntries(names.map((name) => [name, part(outputs[name], index)])));
  }
}
