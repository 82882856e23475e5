import {
  IpvsError,
  type Lookups,
  parseState,
  type ParseStateOptions,
  readState,
  type State,
  type StateFormat,
  StateSyntaxError,
} from '../index.ts'
import { FileError } from './exit-status.ts'
import { Names } from './names.ts'
import type { Input } from './terminal/surroundings.ts'

/** A FILE of the command line that means standard input. */
export const STDIN = '-'

const WORDS: Readonly<Record<string, string>> = {
  ENOENT: 'there is no such file or folder',
  EACCES: 'permission denied',
  EISDIR: 'it is a folder',
  ENOTDIR: 'a part of its path is not a folder',
  EROFS: 'its file system is read-only',
  ENOSPC: 'no space is left on its file system',
}

/** Looks up names of hosts and services in lines of ipvsadm, as this system knows them at that moment. */
export function systemLookups(): Required<Lookups> {
  const names = new Names()
  return {
    lookupService: (name, protocol) => names.portOf(name, protocol),
    async lookupHost(name, family) {
      const number = family === 'ipv6' ? 6 : 4
      await names.findAddress(name, number)
      return names.addressOf(name, number)
    },
  }
}

/** How a state is read. */
export interface ReadOptions {
  readonly format?: StateFormat
}

/** Reads a state in any of its formats. Lines of ipvsadm may have names of hosts and services. */
export async function readStateOf(file: string, stdin: Input, { format }: ReadOptions = {}): Promise<State> {
  const options: ParseStateOptions = { ...(format !== undefined && { format }), ...systemLookups() }
  try {
    return await (file === STDIN ? readPipe(stdin, options) : readState(file, options))
  } catch (error) {
    if (error instanceof StateSyntaxError) {
      throw new FileError(file === STDIN ? `standard input: ${error.message}` : error.message)
    }
    throw fileError('read', file === STDIN ? 'standard input' : file, error)
  }
}

async function readPipe(stdin: Input, options: ParseStateOptions): Promise<State> {
  const text = await readText(stdin)
  // JSON knows its end; elsewhere half a number is a number too.
  if (text !== '' && !text.endsWith('\n') && !text.trimStart().startsWith('{')) {
    throw new FileError(
      'standard input ends within a line, so it may be cut off; if it is whole, end the line',
    )
  }
  return parseState(text, options)
}

async function readText(stdin: Input): Promise<string> {
  const decoder = new TextDecoder('utf-8', { fatal: true })
  let text = ''
  try {
    for await (const piece of stdin) {
      text += decoder.decode(typeof piece === 'string' ? Buffer.from(piece) : piece, { stream: true })
    }
    return text + decoder.decode()
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ERR_ENCODING_INVALID_ENCODED_DATA') throw error
    throw new FileError('standard input is not UTF-8 text')
  }
}

/** An error of the file system, in words; any other as it is. */
export function fileError(verb: string, file: string, error: unknown): unknown {
  // It may name a system call too, that of the socket.
  if (error instanceof IpvsError) return error
  const { code, syscall, path, message } = error as NodeJS.ErrnoException
  if (code === undefined || (syscall === undefined && path === undefined)) return error
  return Object.assign(new FileError(`cannot ${verb} ${file}: ${WORDS[code] ?? message}`), { code })
}
