"""Node's standard library: each program calls ``done(got, wanted)``, which throws unless they are equal."""

DONE = "const done = (got, wanted) => { require('assert').deepStrictEqual(got, wanted); console.log('done') }\n"

WORKS = {
    "fs, promises": """
const fs = require('fs/promises')
;(async () => {
  await fs.mkdir('a/b', {recursive: true}); await fs.writeFile('a/b/f', 'x'); await fs.copyFile('a/b/f', 'c')
  await fs.symlink('c', 'l'); await fs.appendFile('c', 'y'); await fs.cp('a', 'd', {recursive: true})
  const handle = await fs.open('c'), found = await handle.stat()
  await handle.close(); await fs.mkdtemp('/tmp/t-'); await fs.rm('a', {recursive: true}); await fs.rename('c', 'e')
  await fs.chmod('e', 0o600); await fs.utimes('e', 1, 1)
  done([found.size, (await fs.readdir('.')).join(), await fs.readFile('d/b/f', 'utf8'), await fs.realpath('d')],
       [2, 'd,e,l', 'x', '/workspace/d'])
})()
""",
    "fs, watching a file": """
const fs = require('fs')
fs.writeFileSync('seen', '')
fs.watchFile('seen', {interval: 10}, now => { fs.unwatchFile('seen'); done(now.size, 1) })
setTimeout(() => fs.writeFileSync('seen', 'x'), 50)
""",
    "child_process": """
const {execSync, fork, spawn, spawnSync} = require('child_process')
require('fs').writeFileSync('child.js', 'process.on("message", n => { process.send(n * 2); process.disconnect() })')
const child = fork('child.js'), cat = spawn('cat')
let out = ''
cat.stdout.on('data', piece => out += piece)
cat.stdin.end('in')
const doubled = new Promise(ready => child.on('message', ready)), code = new Promise(ready => cat.on('close', ready))
Promise.all([doubled, code]).then(both =>
  done([...both, execSync('echo a | tr a b').toString(), spawnSync('false').status, out], [42, 0, 'b\\n', 1, 'in']))
child.send(21)
""",
    "worker_threads": """
const {Worker} = require('worker_threads'), shared = new SharedArrayBuffer(4)
const program = `const {parentPort, workerData} = require('worker_threads')
  Atomics.add(new Int32Array(workerData), 0, 5); parentPort.postMessage('hi')`
const worker = new Worker(program, {eval: true, workerData: shared})
worker.on('message', said => worker.terminate().then(() => done([said, new Int32Array(shared)[0]], ['hi', 5])))
""",
    "cluster": """
const cluster = require('cluster'), http = require('http')
if (!cluster.isPrimary) http.createServer((request, response) => response.end('ok')).listen(0, '127.0.0.1')
else {
  const worker = cluster.fork()
  worker.on('listening', ({port}) => http.get({host: '127.0.0.1', port}, answer => {
    answer.resume().on('end', () => { worker.kill(); done(answer.statusCode, 200) })
  }))
}
""",
    "crypto": """
const crypto = require('crypto'), text = Buffer.from('a')
const {privateKey, publicKey} = crypto.generateKeyPairSync('ed25519')
crypto.scrypt('p', 's', 32, async (error, key) => {
  const digest = await crypto.webcrypto.subtle.digest('SHA-256', new Uint8Array(1))
  const verified = crypto.verify(null, text, publicKey, crypto.sign(null, text, privateKey))
  done([verified, key.length, digest.byteLength, crypto.randomUUID().length], [true, 32, 32, 36])
})
""",
    "net": """
const net = require('net')
const echo = (where, next) => {
  const server = net.createServer(socket => socket.pipe(socket)).listen(where, () => {
    const client = net.connect(where.path ? where : {host: '127.0.0.1', port: server.address().port})
    let said = ''
    client.on('data', piece => said += piece).on('end', () => { server.close(); next(said) }).end('hello')
  })
}
echo({port: 0, host: '127.0.0.1'}, tcp => echo({path: 'socket'}, unix => done([tcp, unix], ['hello', 'hello'])))
""",
    "dgram": """
const socket = require('dgram').createSocket('udp4')
socket.on('message', said => { socket.close(); done(said.toString(), 'udp') })
socket.bind(0, '127.0.0.1', () => socket.send('udp', socket.address().port, '127.0.0.1'))
""",
    "http and fetch": """
const server = require('http').createServer((request, response) => {
  response.setHeader('x', 'y').end(JSON.stringify({path: request.url}))
})
server.listen(0, '127.0.0.1', async () => {
  const answer = await fetch(`http://127.0.0.1:${server.address().port}/p`), body = await answer.json()
  server.close(); server.closeAllConnections()
  done([body.path, answer.headers.get('x')], ['/p', 'y'])
})
""",
    "http2": """
const http2 = require('http2'), server = http2.createServer((request, response) => response.end('two'))
server.listen(0, '127.0.0.1', () => {
  const client = http2.connect(`http://127.0.0.1:${server.address().port}`)
  let said = ''
  client.request({':path': '/'}).on('data', piece => said += piece).on('end', () => {
    client.close(); server.close(); done(said, 'two')
  })
})
""",
    "tls": "const tls = require('tls'); done(tls.rootCertificates.length > 50 && tls.getCiphers().length > 10, true)",
    "zlib": """
const zlib = require('zlib'), data = Buffer.alloc(10000, 'a')
for (const way of ['gzip:gunzip', 'deflate:inflate', 'brotliCompress:brotliDecompress']) {
  const [there, back] = way.split(':')
  if (!zlib[back + 'Sync'](zlib[there + 'Sync'](data)).equals(data)) throw way
}
done(1, 1)
""",
    "streams": """
const {pipeline, Readable} = require('stream'), fs = require('fs'), zlib = require('zlib')
pipeline(Readable.from(['a', 'b']), zlib.createGzip(), fs.createWriteStream('f.gz'), error => {
  done([error, zlib.gunzipSync(fs.readFileSync('f.gz')).toString()], [undefined, 'ab'])
})
""",
    "timers": """
const order = []
setImmediate(() => order.push('immediate')); process.nextTick(() => order.push('tick'))
queueMicrotask(() => order.push('micro'))
require('timers/promises').setTimeout(5).then(() => {
  const again = setInterval(() => { clearInterval(again); done(order.join(), 'tick,micro,immediate') }, 1)
})
""",
    "dns ends at once with an error": """
const dns = require('dns')
dns.lookup('example.org', error => dns.resolve4('example.org', other =>
  done([error.code, other.code], ['EAI_AGAIN', 'ECONNREFUSED'])))
""",
    "WebAssembly": """
const bytes = new Uint8Array([0, 97, 115, 109, 1, 0, 0, 0, 1, 7, 1, 96, 2, 127, 127, 1, 127, 3, 2, 1, 0, 7, 7, 1, 3, 97,
                              100, 100, 0, 0, 10, 9, 1, 7, 0, 32, 0, 32, 1, 106, 11])
WebAssembly.instantiate(bytes).then(({instance}) => done(instance.exports.add(20, 22), 42))
""",
    "modules and vm": """
const fs = require('fs'), vm = require('vm')
fs.writeFileSync('m.mjs', 'export default 7'); fs.writeFileSync('c.js', 'exports.name = __filename')
const three = vm.runInNewContext('1 + a', {a: 2}), {name} = require('/workspace/c.js')
import('/workspace/m.mjs').then(module => done([three, module.default, name], [3, 7, '/workspace/c.js']))
""",
    "os": """
const os = require('os')
os.setPriority(1)
done([os.hostname(), process.getuid(), os.homedir(), os.tmpdir(), os.availableParallelism() > 0, os.totalmem() > 0],
     ['sandbox', 1000, '/tmp', '/tmp', true, true])
""",
    "process": """
process.umask(); process.cpuUsage(); process.resourceUsage(); process.hrtime.bigint(); process.report.getReport()
process.on('SIGUSR2', () => done(process.cwd(), '/workspace'))
setTimeout(() => {}, 500)
process.kill(process.pid, 'SIGUSR2')
""",
    "readline": """
const lines = [], input = require('stream').Readable.from(['a\\nb\\n'])
const reader = require('readline').createInterface({input})
reader.on('line', line => lines.push(line)).on('close', () => done(lines.join(), 'a,b'))
""",
    "URL, Intl, Buffer": """
const hour = new Intl.DateTimeFormat('de', {timeZone: 'Europe/Berlin', hour: 'numeric'}).format(0)
done([new URL('http://a/b?c=d').searchParams.get('c'), hour, structuredClone({a: [1]}).a[0], Buffer.from('é').length],
     ['d', '01 Uhr', 1, 2])
""",
    "async_hooks, perf_hooks, v8, inspector": """
const {AsyncLocalStorage} = require('async_hooks'), v8 = require('v8'), {Session} = require('inspector')
require('perf_hooks').performance.mark('a')
const store = new AsyncLocalStorage(), session = new Session()
session.connect()
session.post('Runtime.evaluate', {expression: '1 + 1'}, (error, answer) => store.run(5, () => setTimeout(() =>
  done([store.getStore(), v8.deserialize(v8.serialize({a: 1})).a, answer.result.value], [5, 1, 2]), 1)))
""",
    "every module can be loaded": """
const leftOut = ['trace_events', 'sys', 'punycode', 'wasi']  // deprecated or experimental: they warn
const fails = name => { try { require(name); return false } catch { return true } }
const names = require('module').builtinModules.filter(name => !name.startsWith('_') && !leftOut.includes(name))
done(names.filter(fails), [])
""",
}
