/** As many pieces are joined at once as take no time worth speaking of. */
const BLOCK = 2048

/**
 * A long text made of small pieces. What `+=` makes is put together when it is
 * first read, all at once; this does it as the pieces come.
 */
export class Pieces {
  readonly #blocks: string[] = []
  #pieces: string[] = []

  add(piece: string): void {
    this.#pieces.push(piece)
    if (this.#pieces.length === BLOCK) this.#join()
  }

  text(): string {
    this.#join()
    return this.#blocks.join('')
  }

  #join(): void {
    this.#blocks.push(this.#pieces.join(''))
    this.#pieces = []
  }
}
