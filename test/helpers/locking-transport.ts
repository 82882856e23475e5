import type { Failure, LockHolder, Transport, TransportLock } from '../../lib/transport/transport.ts'
import { FailingTransport } from './failing-transport.ts'

/** The lock of one table. */
export class FakeLock {
  holder: LockHolder | undefined
  failure: Failure | undefined
  tries = 0

  take(): Promise<TransportLock | { readonly holder: LockHolder } | Failure> {
    this.tries += 1
    if (this.failure !== undefined) return Promise.resolve(this.failure)
    if (this.holder !== undefined) return Promise.resolve({ holder: this.holder })
    this.holder = { pid: process.pid }
    return Promise.resolve({
      release: () => {
        this.holder = undefined
        return Promise.resolve()
      },
    })
  }
}

/** A transport to a table that other processes may lock. */
export class LockingTransport extends FailingTransport {
  readonly #lock: FakeLock

  constructor(kernel: Transport, lock: FakeLock) {
    super(kernel)
    this.#lock = lock
  }

  lock(): ReturnType<FakeLock['take']> {
    return this.#lock.take()
  }
}
