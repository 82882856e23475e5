import type { Dump, Failure, OpenFile, Reply, Request, Transport } from '../../lib/transport/transport.ts'
import { COMMANDS } from './commands.ts'

/** Commands of the kernel that change nothing. */
const READS: readonly number[] = [
  COMMANDS.getService,
  COMMANDS.getDest,
  COMMANDS.getDaemon,
  COMMANDS.getConfig,
  COMMANDS.getInfo,
]

/** What becomes of one write. */
export interface WriteFault {
  /** Which of the writes: 0 is the first. */
  readonly at: number
  readonly failure: Failure
  /** Whether the kernel does it all the same, and only the answer is lost. Default false. */
  readonly executed?: boolean
}

/** A transport to a kernel that counts the writes, of sysctls too, and spoils some. */
export class FailingTransport implements Transport {
  readonly #kernel: Transport
  writes = 0
  fault: WriteFault | undefined
  /** Called before each write, with how many there were. */
  beforeWrite: ((index: number) => void | Promise<void>) | undefined

  constructor(kernel: Transport) {
    this.#kernel = kernel
  }

  async batch(requests: readonly Request[]): Promise<readonly Reply[]> {
    const replies: Reply[] = []
    for (const request of requests) {
      const send = async (): Promise<Reply> => (await this.#kernel.batch([request]))[0] ?? {}
      replies.push(
        READS.includes(request.command)
          ? await send()
          : await this.#write(async () => {
              const reply = await send()
              return { failed: reply.failure, outcome: reply }
            }).then(({ failure, outcome }) => outcome ?? (failure === undefined ? {} : { failure })),
      )
    }
    return replies
  }

  async setSysctl(name: string, value: string): Promise<Failure | undefined> {
    const { failure, outcome } = await this.#write(async () => {
      const failed = await this.#kernel.setSysctl(name, value)
      return { failed, outcome: { failed } }
    })
    return failure ?? outcome?.failed
  }

  async #write<T>(
    send: () => Promise<{ readonly failed: Failure | undefined; readonly outcome: T }>,
  ): Promise<{ readonly failure?: Failure; readonly outcome?: T }> {
    const index = this.writes++
    await this.beforeWrite?.(index)
    if (this.fault?.at !== index) return { outcome: (await send()).outcome }
    if (this.fault.executed === true) await send()
    return { failure: this.fault.failure }
  }

  dump(request: Request): Promise<Dump> {
    return this.#kernel.dump(request)
  }

  dumpOfDumps(outer: Request, innerCommand: number, attribute: number): Promise<Dump> {
    return this.#kernel.dumpOfDumps(outer, innerCommand, attribute)
  }

  sysctls(names: readonly string[]): Promise<readonly (string | undefined | Failure)[]> {
    return this.#kernel.sysctls(names)
  }

  openProcNet(name: string): Promise<OpenFile | Failure> {
    return this.#kernel.openProcNet(name)
  }

  openScratch(): Promise<Transport | Failure> {
    return this.#kernel.openScratch()
  }

  close(): Promise<void> {
    return this.#kernel.close()
  }
}
