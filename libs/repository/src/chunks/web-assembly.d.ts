/** The one thing used of it, which Node has and its type package leaves to the browser's. */
declare namespace WebAssembly {
  class Memory {
    constructor(size: { readonly initial: number; readonly maximum: number; readonly shared: true });
    /** Begins at a page. Sizes are in pages of 64 KiB. */
    readonly buffer: SharedArrayBuffer;
  }
}
