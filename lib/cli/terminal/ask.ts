import { createInterface } from 'node:readline'
import type { Printer } from './printer.ts'
import type { Input } from './surroundings.ts'

/** How a question was answered; `end` is an input that ended without an answer. */
export type Answer = 'yes' | 'no' | 'end'

/** Asks on the terminal. Any answer but yes is no. */
export function ask(question: string, stdin: Input, printer: Printer, signal: AbortSignal): Promise<Answer> {
  return new Promise((resolve) => {
    const lines = createInterface({ input: stdin })
    const end = (answer: Answer): void => {
      signal.removeEventListener('abort', abort)
      lines.off('close', closed)
      lines.close()
      resolve(answer)
    }
    const closed = (): void => {
      printer.line('')
      end('end')
    }
    const abort = (): void => {
      end('end')
    }
    signal.addEventListener('abort', abort)
    lines.once('line', (line) => {
      end(/^\s*(y|yes)\s*$/i.test(line) ? 'yes' : 'no')
    })
    lines.once('close', closed)
    printer.prompt(question)
    if (signal.aborted) abort()
  })
}
