import { flag, known, object, show, whole } from '../../model/check.ts'
import { Errno } from '../../model/errno.ts'
import { errnoNumber } from '../../model/errors.ts'
import type { Failure } from '../../transport/transport.ts'
import { checkCommand, type KernelCommand } from './command-names.ts'

/** A future failure: see {@link MemoryKernel.failNext}. */
export interface Fault {
  /** The request to fail. Default: the next one, whatever it is. */
  readonly command?: KernelCommand | undefined
  /** Name or number of the errno: 'ENOMEM', 12. */
  readonly errno: string | number
  /** How many such requests fail, default 1. */
  readonly times?: number | undefined
  /**
   * Whether the kernel does the request anyway and only its answer is lost, which
   * ENOBUFS and ETIMEDOUT mean. Default: true for these two, else false.
   */
  readonly executed?: boolean | undefined
  /** The system call that failed, such as 'recvmsg'. Default: 'recvmsg' for those two, else none. */
  readonly syscall?: string | undefined
  /** The kernel's own words. Default none. */
  readonly kernelMessage?: string | undefined
}

const FAULT: readonly (keyof Fault)[] = ['command', 'errno', 'times', 'executed', 'syscall', 'kernelMessage']

/** The errnos of answers that are lost on their way back. */
const LOST: readonly number[] = [Errno.ENOBUFS, Errno.ETIMEDOUT]

interface Armed<T> {
  readonly command: KernelCommand | undefined
  readonly value: T
  times: number
}

/** A failure that is due now. */
interface TakenFault {
  readonly failure: Failure
  readonly executed: boolean
}

/** What a test runs at a point of a conversation. */
export type Hook = () => void | Promise<void>

/** The failures that a test asked for, in that order. */
export class Faults {
  readonly #failures: Armed<TakenFault>[] = []
  readonly #before: Armed<Hook>[] = []
  readonly #during: Armed<Hook>[] = []
  readonly #interrupted: Armed<true>[] = []
  #gate: Promise<void> | undefined

  fail(fault: Fault): void {
    known(object(fault, 'a fault'), FAULT, [], 'a fault')
    const { command, errno, times = 1, executed, syscall, kernelMessage } = fault
    whole(times, 'times', 1, Number.MAX_SAFE_INTEGER)
    const number = typeof errno === 'number' ? whole(errno, 'errno', 1, 4095) : errnoNumber(errno)
    if (number === undefined) {
      throw new RangeError(`errno must be a name such as 'ENOMEM' or a number, got ${show(errno)}`)
    }
    if (executed !== undefined) flag(executed, 'executed')
    const lost = LOST.includes(number)
    const call = syscall ?? (lost ? 'recvmsg' : undefined)
    const failure: Failure = {
      errno: number,
      ...(call !== undefined && { syscall: call }),
      ...(kernelMessage !== undefined && { message: kernelMessage }),
    }
    arm(this.#failures, command, { failure, executed: executed ?? lost }, times)
  }

  before(command: KernelCommand | undefined, hook: Hook): void {
    arm(this.#before, command, checkHook(hook), 1)
  }

  during(command: KernelCommand | undefined, hook: Hook): void {
    arm(this.#during, command, checkHook(hook), 1)
  }

  interrupt(command: KernelCommand | undefined): void {
    arm(this.#interrupted, command, true, 1)
  }

  /** Lets nothing through until the returned function is called. */
  hold(): () => void {
    let release: (() => void) | undefined
    const gate = new Promise<void>((resolve) => {
      release = resolve
    })
    this.#gate = gate
    return () => {
      if (this.#gate === gate) this.#gate = undefined
      release?.()
    }
  }

  clear(): void {
    for (const list of [this.#failures, this.#before, this.#during, this.#interrupted]) list.length = 0
  }

  takeFailure(command: KernelCommand | number): TakenFault | undefined {
    return take(this.#failures, command)
  }

  takeInterruption(command: KernelCommand | number): boolean {
    return take(this.#interrupted, command) ?? false
  }

  /** Whether a request has to wait. Most do not, and a promise for each would cost more than the request. */
  get waits(): boolean {
    return this.#gate !== undefined || this.#before.length > 0
  }

  async wait(command: KernelCommand | number): Promise<void> {
    while (this.#gate !== undefined) await this.#gate
    await take(this.#before, command)?.()
  }

  async betweenChunks(command: KernelCommand | number): Promise<void> {
    await take(this.#during, command)?.()
  }
}

function checkHook(run: Hook): Hook {
  if (typeof run !== 'function') throw new TypeError(`run must be a function, got ${show(run)}`)
  return run
}

function arm<T>(list: Armed<T>[], command: KernelCommand | undefined, value: T, times: number): void {
  checkCommand(command)
  list.push({ command, value, times })
}

/** The first entry for this command. It is used up once by this. */
function take<T>(list: Armed<T>[], command: KernelCommand | number): T | undefined {
  const index = list.findIndex((armed) => armed.command === undefined || armed.command === command)
  const armed = list[index]
  if (armed === undefined) return undefined
  armed.times -= 1
  if (armed.times === 0) list.splice(index, 1)
  return armed.value
}
