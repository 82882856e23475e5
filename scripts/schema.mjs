// node scripts/schema.mjs: writes state.schema.json, from the lists of fields, ranges and choices that the library checks a
// state with, and from the comments of its types. Only what relates one field to another is written here.
import { readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import process from 'node:process'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { build } from 'esbuild'
import { format, resolveConfig } from 'prettier'
import ts from 'typescript'

const root = fileURLToPath(new URL('..', import.meta.url))
export const SCHEMA_FILE = path.join(root, 'state.schema.json')
const TYPES_FILE = path.join(root, 'lib/model/types.ts')

/** @typedef {Readonly<Record<string, unknown>>} Schema */
/** @typedef {readonly [number, number]} Range */

/** The text of state.schema.json. */
export async function makeSchema() {
  const text = JSON.stringify(schemaOf(await load(), docsOf(TYPES_FILE)))
  return format(text, { ...(await resolveConfig(SCHEMA_FILE)), parser: 'json' })
}

/**
 * What the schema is made of, out of lib/model: no Node of ours reads TypeScript.
 *
 * @returns {Promise<typeof import('../lib/model/protocols.ts') & typeof import('../lib/model/ranges.ts') & typeof import('../lib/model/scheduler-flags.ts') & typeof import('../lib/model/validate.ts')>}
 */
async function load() {
  const { outputFiles } = await build({
    stdin: {
      contents: ['protocols', 'ranges', 'scheduler-flags', 'validate']
        .map((name) => `export * from './lib/model/${name}.ts'`)
        .join(';'),
      resolveDir: root,
    },
    bundle: true,
    format: 'esm',
    write: false,
    logLevel: 'warning',
  })
  const [{ contents } = { contents: new Uint8Array() }] = outputFiles
  return await import(`data:text/javascript;base64,${Buffer.from(contents).toString('base64')}`)
}

/**
 * Comments of types, by name, and of their members, by `Type.member`; in `docs` after that of the member's type.
 *
 * @param {string} file
 * @returns {Readonly<Record<'literals' | 'members', ReadonlyMap<string, readonly string[]>>> & Readonly<Record<'own' | 'docs', ReadonlyMap<string, string>>>}
 */
function docsOf(file) {
  const source = ts.createSourceFile(file, readFileSync(file, 'utf8'), ts.ScriptTarget.ES2022, true)
  /** @type {Map<string, string>} */
  const own = new Map()
  /** @type {Map<string, string>} Of a member: the name of its type. */
  const typeOf = new Map()
  /** @type {Map<string, string[]>} Of a type that is a choice of texts. */
  const literals = new Map()
  const add = (/** @type {string} */ name, /** @type {ts.Node} */ node) => {
    const text = ts
      .getJSDocCommentsAndTags(node)
      .map(({ comment }) => ts.getTextOfJSDocComment(comment) ?? '')
      .join(' ')
      .replace(/\s+/g, ' ')
      .replaceAll(/\{@link (\w+)\}/g, '$1')
      .replaceAll('`', "'")
      .replaceAll(/'{2,}/g, "'")
    if (text !== '') own.set(name, text)
  }
  /** @type {Map<string, string[]>} Of an interface, in their order. */
  const members = new Map()
  const addMembers = (/** @type {string} */ owner, /** @type {readonly ts.TypeElement[]} */ list) => {
    for (const member of list) {
      if (!ts.isPropertySignature(member) || member.name === undefined) continue
      const field = member.name.getText(source)
      const name = `${owner}.${field}`
      members.set(owner, [...(members.get(owner) ?? []), field])
      add(name, member)
      const written = member.type?.getText(source).replace(/ \| undefined$/, '')
      const type = written?.replace(/^readonly |\[\]$/g, '')
      if (type !== undefined) typeOf.set(name, type)
    }
  }
  for (const statement of source.statements) {
    if (ts.isInterfaceDeclaration(statement)) {
      add(statement.name.text, statement)
      addMembers(statement.name.text, statement.members)
    } else if (ts.isTypeAliasDeclaration(statement)) {
      const { name, type } = statement
      add(name.text, statement)
      const parts = ts.isUnionTypeNode(type) ? type.types : [type]
      literals.set(
        name.text,
        parts.flatMap((part) =>
          ts.isLiteralTypeNode(part) && ts.isStringLiteral(part.literal) ? [part.literal.text] : [],
        ),
      )
      if (ts.isIntersectionTypeNode(type)) {
        for (const part of type.types) if (ts.isTypeLiteralNode(part)) addMembers(name.text, part.members)
      }
    }
  }
  const docs = new Map(own)
  for (const [name, type] of typeOf) {
    const both = [own.get(type), own.get(name)].filter((text) => text !== undefined)
    if (both.length > 0) docs.set(name, both.join(' '))
  }
  return { own, docs, literals, members }
}

/**
 * @param {Awaited<ReturnType<typeof load>>} model
 * @param {ReturnType<typeof docsOf>} types
 * @returns {Schema}
 */
function schemaOf(model, { own, docs, literals, members }) {
  const integer = (/** @type {Range} */ [minimum, maximum]) => ({ type: 'integer', minimum, maximum })
  const choice = (/** @type {readonly unknown[]} */ names) => ({ enum: names })
  const named = (/** @type {readonly unknown[]} */ names, /** @type {Range} */ range) => ({
    anyOf: [choice(names), integer(range)],
  })
  const name = (/** @type {number} */ bytes) => ({
    type: 'string',
    minLength: 1,
    maxLength: bytes,
    pattern: '^[^\\u0000]*$',
  })
  const ref = (/** @type {string} */ to) => ({ $ref: `#/$defs/${to}` })

  /** An object whose fields are those of a list, each with its schema and the comment of its type. */
  const properties = (
    /** @type {string} */ type,
    /** @type {readonly string[]} */ fields,
    /** @type {Readonly<Record<string, Schema>>} */ schemas,
  ) => {
    const unknown = Object.keys(schemas).filter((field) => !fields.includes(field))
    const missing = fields.filter((field) => !(field in schemas))
    if (unknown.length > 0 || missing.length > 0) {
      throw new Error(`${type}: no field ${unknown.join()}; no schema for ${missing.join()}`)
    }
    return Object.fromEntries(
      fields.map((field) => {
        // A definition has the comment of its own type.
        const description = (isDefined(schemas[field]) ? own : docs).get(`${type}.${field}`)
        return [field, { ...(description !== undefined && { description }), ...schemas[field] }]
      }),
    )
  }
  const described = (/** @type {string} */ type) => ({ description: docs.get(type), type: 'object' })
  const has = (/** @type {string} */ field, /** @type {Schema} */ schema) => ({
    properties: { [field]: schema },
    required: [field],
  })

  /** What depends on the family of a service: addresses of its real servers, and its netmask. */
  const ofFamily = (/** @type {string} */ address, /** @type {Schema} */ netmask) => ({
    properties: {
      realServers: {
        items: { anyOf: [{ properties: { address: ref(address) } }, has('method', { const: 'tunnel' })] },
      },
      persistence: { properties: { netmask } },
    },
  })
  /** Names of flags that fit a scheduler; without one, those that fit every scheduler. */
  const withFlags = (scheduler = '') => {
    const names = model.FLAG_NAMES.filter((name) => model.flagFits(name, scheduler))
    return { properties: { schedulerFlags: { items: { pattern: `^(?:${names.join('|')})$` } } } }
  }
  const schedulers = Object.values(model.SCHEDULER_FLAGS).flatMap(({ scheduler = [] }) => scheduler)
  const half = (/** @type {string} */ state) => ({ contains: { properties: { state: { const: state } } } })

  return {
    $schema: 'https://json-schema.org/draft/2020-12/schema',
    title: 'State of a Linux Virtual Server',
    description: docs.get('State'),
    type: 'object',
    properties: {
      $schema: { description: 'Where this schema is, for editors.', type: 'string' },
      ...properties('State', members.get('State') ?? [], {
        version: { const: 1 },
        services: {
          description:
            "In the kernel's listing order. No two have the same identity. Absent: the state is not about services.",
          type: 'array',
          items: ref('service'),
        },
        timeouts: ref('timeouts'),
        syncDaemons: {
          type: 'array',
          items: ref('syncDaemon'),
          maxItems: model.DAEMON_STATES.length,
          if: { minItems: 2 },
          then: { allOf: model.DAEMON_STATES.map(half) },
        },
        sysctls: {
          type: 'object',
          propertyNames: { pattern: model.SYSCTL_NAME },
          additionalProperties: {
            anyOf: [
              { type: 'string', pattern: model.SYSCTL_VALUE, maxLength: model.SYSCTL_MAX_LENGTH },
              integer([Number.MIN_SAFE_INTEGER, Number.MAX_SAFE_INTEGER]),
            ],
          },
        },
      }),
    },
    anyOf: ['services', 'timeouts', 'syncDaemons', 'sysctls'].map((part) => ({ required: [part] })),
    additionalProperties: false,
    $defs: {
      ipv4: { type: 'string', pattern: `^${IPV4}$` },
      ipv6: IPV6,
      address: { anyOf: [ref('ipv4'), ref('ipv6')] },
      service: {
        ...described('StateService'),
        properties: {
          ...properties('ServiceSettings', model.SERVICE_FIELDS, {
            scheduler: { ...name(model.NAME_MAX_BYTES), examples: literals.get('Scheduler') },
            schedulerFlags: {
              type: 'array',
              items: {
                anyOf: [
                  choice(model.FLAG_NAMES),
                  { ...integer(model.UNNAMED_FLAGS), multipleOf: model.UNNAMED_FLAGS[0] },
                ],
              },
            },
            onePacket: { type: 'boolean' },
            persistence: {
              type: 'object',
              properties: properties('PersistenceSpec', model.PERSISTENCE_FIELDS, {
                timeoutSeconds: integer(model.STATE_LIMITS.persistenceSeconds),
                netmask: {},
              }),
              additionalProperties: false,
            },
            persistenceEngine: { ...name(model.ENGINE_NAME_MAX_BYTES), examples: ['sip'] },
          }),
          ...properties('StateService', ['realServers'], {
            realServers: {
              description:
                "In the kernel's listing order. No two have the same address and port. Default none.",
              type: 'array',
              items: ref('realServer'),
            },
          }),
        },
        required: ['protocol'],
        if: { properties: { protocol: { const: 'fwmark' } } },
        then: {
          properties: properties('FwmarkServiceKey', model.FWMARK_KEY_FIELDS, {
            protocol: { description: docs.get('FwmarkServiceKey'), const: 'fwmark' },
            fwmark: integer(model.FWMARK),
            family: choice(model.FAMILIES),
          }),
          required: ['fwmark'],
        },
        else: {
          properties: properties('AddressServiceKey', model.ADDRESS_KEY_FIELDS, {
            protocol: named(model.PROTOCOL_NAMES, model.PROTOCOL),
            address: ref('address'),
            port: integer(model.PORT),
          }),
          required: ['address', 'port'],
        },
        allOf: [
          {
            if: {
              anyOf: [has('address', { type: 'string', pattern: ':' }), has('family', { const: 'ipv6' })],
            },
            then: ofFamily('ipv6', integer(model.PREFIX_IPV6)),
            else: ofFamily('ipv4', { anyOf: [ref('ipv4'), integer(model.PREFIX_IPV4)] }),
          },
          [...new Set(schedulers)].reduceRight(
            (/** @type {Schema} */ others, scheduler) => ({
              if: has('scheduler', { const: scheduler }),
              then: withFlags(scheduler),
              else: others,
            }),
            withFlags(),
          ),
        ],
        unevaluatedProperties: false,
      },
      realServer: {
        ...described('RealServerSpec'),
        properties: {
          ...properties('RealServerKey', model.SERVER_KEY_FIELDS, {
            address: ref('address'),
            port: integer(model.PORT),
          }),
          ...properties('RealServerSettings', model.SERVER_FIELDS, {
            method: choice(model.METHODS),
            weight: integer(model.INT),
            upperThreshold: integer(model.STATE_LIMITS.threshold),
            lowerThreshold: integer(model.STATE_LIMITS.threshold),
            tunnel: {
              type: 'object',
              properties: properties('Tunnel', model.TUNNEL_FIELDS, {
                type: named(model.TUNNEL_TYPES, model.TUNNEL_TYPE),
                port: integer(model.PORT),
                checksum: named(model.CHECKSUMS, model.CHECKSUM),
              }),
              required: ['type'],
              if: { properties: { type: choice(['gue', model.TUNNEL_TYPES.indexOf('gue')]) } },
              then: has('port', { minimum: model.GUE_PORT[0] }),
              additionalProperties: false,
            },
          }),
        },
        required: ['address'],
        if: has('lowerThreshold', { minimum: 1 }),
        then: has('upperThreshold', { minimum: 1 }),
        additionalProperties: false,
      },
      timeouts: {
        ...described('TimeoutChanges'),
        properties: properties(
          'TimeoutChanges',
          model.TIMEOUT_FIELDS,
          Object.fromEntries(model.TIMEOUT_FIELDS.map((field) => [field, integer(model.TIMEOUT_SECONDS)])),
        ),
        additionalProperties: false,
      },
      syncDaemon: {
        ...described('SyncDaemonSpec'),
        properties: properties('SyncDaemonSpec', model.DAEMON_FIELDS, {
          state: choice(model.DAEMON_STATES),
          multicastInterface: name(model.NAME_MAX_BYTES),
          syncId: integer(model.STATE_LIMITS.syncId),
          maxLengthBytes: integer(model.MULTICAST_PAYLOAD_BYTES),
          multicastGroup: {
            anyOf: [
              { ...ref('ipv4'), pattern: '^2(?:2[4-9]|3[0-9])\\.' },
              { ...ref('ipv6'), pattern: '^[Ff]{2}[0-9A-Fa-f]{2}:' },
            ],
          },
          multicastPort: integer(model.MULTICAST_PORT),
          multicastTtl: integer(model.MULTICAST_TTL),
        }),
        required: ['state', 'multicastInterface'],
        additionalProperties: false,
      },
    },
  }
}

/** @param {Schema | undefined} schema */
function isDefined(schema) {
  return JSON.stringify(schema?.items ?? schema).startsWith('{"$ref"')
}

const IPV4 = '(?:(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])(?:\\.(?!$)|$)){4}'
/** A group of IPv6, and what may stand for the last two. */
const GROUP = '[0-9A-Fa-f]{1,4}'
const TAIL = '[0-9]+(?:\\.[0-9]+){3}'
const IPV6 = {
  type: 'string',
  anyOf: [
    {
      description: 'Eight groups; the last two may be an IPv4 address.',
      pattern: `^(?:${GROUP}:){6}(?:${GROUP}:${GROUP}|${TAIL})$`,
    },
    {
      description: "Seven groups at most, and one '::'.",
      pattern: `^(?!:*(?:[^:]+(?::+|$)){8})(?!:*(?:[^:]+:+){6}[^:]+\\.)(?:${GROUP}(?::${GROUP})*)?::(?:(?:${GROUP}:)*(?:${GROUP}|${TAIL}))?$`,
    },
  ],
  pattern: `^[^.]*$|:${IPV4}$`,
}

if (process.argv[1] !== undefined && import.meta.url === pathToFileURL(process.argv[1]).href) {
  writeFileSync(SCHEMA_FILE, await makeSchema())
}
