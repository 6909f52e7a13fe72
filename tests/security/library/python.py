"""Python's standard library: each ``handler`` returns True when what it tried works."""

WORKS = {
    "threading": """
import queue, threading
box, lock, total = queue.Queue(), threading.Lock(), 0
def work():
    global total
    with lock: total += box.get()
def handler(event):
    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads: thread.start()
    for number in range(8): box.put(number)
    for thread in threads: thread.join()
    return total == 28
""",
    "concurrent.futures": """
import concurrent.futures, multiprocessing
def handler(event):
    fork = multiprocessing.get_context("fork")
    with concurrent.futures.ThreadPoolExecutor(4) as pool: threads = list(pool.map(str, range(4)))
    with concurrent.futures.ProcessPoolExecutor(2, fork) as pool: processes = list(pool.map(str, range(4)))
    return threads == processes == ["0", "1", "2", "3"]
""",
    **{
        f"multiprocessing, {way}": f"""
import multiprocessing
def square(number): return number * number
def handler(event):
    with multiprocessing.get_context("{way}").Pool(2) as pool: return pool.map(square, range(4)) == [0, 1, 4, 9]
"""
        for way in ("fork", "spawn", "forkserver")
    },
    "multiprocessing, what is shared": """
import multiprocessing
from multiprocessing.shared_memory import SharedMemory
def handler(event):
    context = multiprocessing.get_context("fork")
    box, number = context.Queue(), context.Value("i", 0)
    def work():
        with number.get_lock(): number.value += 1
        box.put("done")
    children = [context.Process(target=work) for _ in range(3)]
    for child in children: child.start()
    said = [box.get(timeout=50) for _ in children]
    for child in children: child.join()
    memory = SharedMemory(create=True, size=10)
    memory.buf[0] = 7
    again = SharedMemory(name=memory.name)
    seen = again.buf[0]
    again.close(); memory.close(); memory.unlink()
    with context.Manager() as manager: managed = dict(manager.dict(a=1))
    return [said, number.value, seen, managed] == [["done"] * 3, 3, 7, {"a": 1}]
""",
    "asyncio": """
import asyncio
async def echo(reader, writer):
    writer.write((await reader.readline()).upper())
    writer.close()
async def ask(reader, writer):
    writer.write(b"hello\\n")
    said = await reader.readline()
    writer.close()
    return said
async def handler(event):
    tcp = await asyncio.start_server(echo, "127.0.0.1", 0)
    unix = await asyncio.start_unix_server(echo, "socket")
    said = await ask(*await asyncio.open_connection(*tcp.sockets[0].getsockname()))
    said += await ask(*await asyncio.open_unix_connection("socket"))
    tcp.close(); unix.close()
    process = await asyncio.create_subprocess_exec("cat", stdin=-1, stdout=-1)
    out, _ = await process.communicate(b"in")
    return [said, out, await asyncio.to_thread(len, "ab")] == [b"HELLO\\nHELLO\\n", b"in", 2]
""",
    "subprocess": """
import subprocess
def handler(event):
    piped = subprocess.run("echo a | tr a b", shell=True, capture_output=True, text=True).stdout
    alone = subprocess.check_output(["/usr/bin/env", "-i", "X=1", "/usr/bin/env"])
    apart = subprocess.run(["true"], start_new_session=True).returncode
    try: subprocess.run(["sleep", "50"], timeout=0.1)
    except subprocess.TimeoutExpired: return [piped, alone, apart] == ["b\\n", b"X=1\\n", 0]
""",
    "os, processes": """
import os, select
def handler(event):
    r, w = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(w, b"child")
        os._exit(3)
    said = [os.read(r, 5), os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])]
    spawned = os.posix_spawn("/usr/bin/true", ["true"], {})
    ended = select.poll()
    ended.register(os.pidfd_open(spawned), select.POLLIN)
    said.append(len(ended.poll(50_000)))
    os.waitpid(spawned, 0)
    os.nice(1); os.sched_setaffinity(0, os.sched_getaffinity(0)); os.sched_yield()
    os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
    return said == [b"child", 3, 1] and os.cpu_count() > 0
""",
    "os, files": """
import os
def handler(event):
    source, target = (os.open(name, os.O_RDWR | os.O_CREAT) for name in ("source", "target"))
    os.write(source, b"0123456789")
    copied = [os.copy_file_range(source, target, 10, 0, 0), os.sendfile(target, source, 0, 10)]
    copied.append(os.splice(source, os.pipe()[1], 10, offset_src=0))
    os.posix_fallocate(target, 0, 100); os.ftruncate(target, 5); os.fdatasync(target); os.sync()
    os.posix_fadvise(target, 0, 0, os.POSIX_FADV_DONTNEED); os.pwritev(target, [b"x"], 0)
    os.lockf(target, os.F_LOCK, 1)
    os.symlink("source", "link"); os.link("source", "hard"); os.rename("hard", "harder"); os.mkfifo("fifo")
    os.chmod("source", 0o600); os.utime("source", ns=(1, 1)); os.truncate("source", 1); os.statvfs("."); os.umask(0o22)
    os.eventfd(1); os.setxattr("source", "user.a", b"1")
    names = sorted(entry.name for entry in os.scandir("."))
    return [copied, names, os.getxattr("source", "user.a")] == [
        [10] * 3, ["fifo", "harder", "link", "source", "target"], b"1"]
""",
    "fcntl": """
import fcntl, os, struct
def handler(event):
    file = open("locked", "w")
    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB); fcntl.lockf(file, fcntl.LOCK_EX)
    r, w = os.pipe()
    os.write(w, b"abc")
    return struct.unpack("i", fcntl.ioctl(r, 0x541B, b"0000"))[0] == 3 and fcntl.fcntl(w, fcntl.F_GETPIPE_SZ) > 0
""",
    "select": """
import os, select, selectors, socket
def handler(event):
    r, w = os.pipe()
    os.write(w, b"x")
    epoll = select.epoll()
    epoll.register(r, select.EPOLLIN)
    near, far = socket.socketpair()
    near.send(b"y")
    chosen = selectors.DefaultSelector()
    chosen.register(far, selectors.EVENT_READ)
    return [len(epoll.poll(50)), select.select([r], [], [], 50)[0], len(chosen.select(50))] == [1, [r], 1]
""",
    "timerfd and signalfd": """
import ctypes, os, signal, struct
def handler(event):
    libc = ctypes.CDLL(None, use_errno=True)
    timer = libc.timerfd_create(1, 0)
    libc.timerfd_settime(timer, 0, struct.pack("qqqq", 0, 0, 0, 1000000), None)
    ticks = struct.unpack("Q", os.read(timer, 8))[0]
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
    mask = ctypes.create_string_buffer(128)
    libc.sigemptyset(mask); libc.sigaddset(mask, int(signal.SIGUSR1))
    waiting = libc.signalfd(-1, mask, 0)
    os.kill(os.getpid(), signal.SIGUSR1)
    return [ticks, struct.unpack("I", os.read(waiting, 128)[:4])[0]] == [1, signal.SIGUSR1]
""",
    "socket": """
import os, socket, threading
def handler(event):
    server = socket.create_server(("127.0.0.1", 0))
    threading.Thread(target=lambda: server.accept()[0].sendall(b"tcp")).start()
    with socket.create_connection(server.getsockname()) as client: tcp = client.recv(3)
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    udp.bind(("127.0.0.1", 0))
    udp.sendto(b"udp", udp.getsockname())
    socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    for name in ("path", "\\0abstract"): socket.socket(socket.AF_UNIX).bind(name)
    near, far = socket.socketpair()
    socket.send_fds(near, [b"fd"], [os.pipe()[0]])
    return [tcp, udp.recv(3), len(socket.recv_fds(far, 2, 1)[1])] == [b"tcp", b"udp", 1]
""",
    "http": """
import http.server, json, threading, urllib.request
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers(); self.wfile.write(b'{"a": 1}')
    def log_message(self, *_): pass
def handler(event):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with urllib.request.urlopen(f"http://127.0.0.1:{server.server_port}/") as answer: value = json.load(answer)
    server.shutdown()
    return value == {"a": 1}
""",
    "ssl and hashes": """
import hashlib, hmac, secrets, ssl
def handler(event):
    ciphers = ssl.create_default_context().get_ciphers()
    secrets.token_hex(); ssl.RAND_bytes(8); hmac.digest(b"k", b"m", "sha256")
    return len(ciphers) > 0 and len(hashlib.scrypt(b"p", salt=b"s", n=2, r=1, p=1)) == 64
""",
    "mmap": """
import mmap
def handler(event):
    anonymous = mmap.mmap(-1, 65536)
    anonymous.madvise(mmap.MADV_DONTNEED)
    with open("mapped", "w+b") as file:
        file.truncate(4096)
        with mmap.mmap(file.fileno(), 4096) as mapped: mapped[:3] = b"xyz"
    mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    return open("mapped", "rb").read(3) == b"xyz"
""",
    "ctypes": """
import ctypes
def handler(event):
    number = ctypes.POINTER(ctypes.c_int)
    compare = ctypes.CFUNCTYPE(ctypes.c_int, number, number)
    numbers = (ctypes.c_int * 4)(4, 2, 3, 1)
    ctypes.CDLL(None).qsort(numbers, 4, 4, compare(lambda a, b: a[0] - b[0]))
    return list(numbers) == [1, 2, 3, 4] and ctypes.CDLL("libm.so.6").abs(-3) == 3
""",
    "signal": """
import faulthandler, os, signal
def handler(event):
    seen = []
    for number in (signal.SIGUSR1, signal.SIGALRM, signal.SIGINT): signal.signal(number, lambda n, f: seen.append(n))
    os.kill(os.getpid(), signal.SIGUSR1)
    signal.setitimer(signal.ITIMER_REAL, 0.01); signal.pause()
    signal.raise_signal(signal.SIGINT)
    signal.sigtimedwait([signal.SIGUSR2], 0.01); faulthandler.enable()
    return seen == [signal.SIGUSR1, signal.SIGALRM, signal.SIGINT]
""",
    "resource": """
import resource
def handler(event):
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64)); resource.getrusage(resource.RUSAGE_CHILDREN)
    return resource.prlimit(0, resource.RLIMIT_NOFILE) == (64, 64)
""",
    "sqlite3": """
import sqlite3
def handler(event):
    with sqlite3.connect("base.db") as base:
        base.execute("PRAGMA journal_mode=WAL"); base.execute("create table t (a, b)")
        base.executemany("insert into t values (?, ?)", [(1, "x"), (2, "y")])
    return sqlite3.connect("base.db").execute("select group_concat(b) from t").fetchone() == ("x,y",)
""",
    "dbm, shelve, pickle": """
import dbm, pickle, shelve
def handler(event):
    with dbm.open("base", "c") as base: base["a"] = "1"
    with shelve.open("shelf") as shelf: shelf["a"] = [1]
    return shelve.open("shelf")["a"] == [1] and pickle.loads(pickle.dumps({1})) == {1}
""",
    "tempfile, shutil, pathlib": """
import filecmp, glob, pathlib, shutil, tempfile
def handler(event):
    with tempfile.TemporaryDirectory() as there:
        pathlib.Path(there, "a").write_text("x"); shutil.copytree(there, "copy"); shutil.copy2("copy/a", "b")
    with tempfile.NamedTemporaryFile() as file: file.write(b"x")
    tempfile.TemporaryFile().write(b"x"); shutil.move("b", "c")
    same = filecmp.cmp("c", "copy/a")
    shutil.rmtree("copy"); shutil.disk_usage(".")
    return [same, glob.glob("*"), str(pathlib.Path("c").resolve()), shutil.which("ls") is not None] == [
        True, ["c"], "/workspace/c", True]
""",
    "zlib, bz2, lzma, zipfile, tarfile": """
import bz2, gzip, lzma, shutil, tarfile, zipfile, zlib
def handler(event):
    data = b"data" * 1000
    for module in (zlib, bz2, lzma, gzip):
        if module.decompress(module.compress(data)) != data: return module.__name__
    open("file", "wb").write(data)
    with zipfile.ZipFile("a.zip", "w", zipfile.ZIP_LZMA) as archive: archive.write("file")
    with tarfile.open("a.tar.xz", "w:xz") as archive: archive.add("file")
    shutil.unpack_archive("a.tar.xz", "out")
    return zipfile.ZipFile("a.zip").read("file") == data == open("out/file", "rb").read()
""",
    "random and uuid": """
import os, random, uuid
def handler(event):
    os.getrandom(8); os.urandom(8); random.SystemRandom().random()
    return len({uuid.uuid1(), uuid.uuid4(), uuid.uuid5(uuid.NAMESPACE_DNS, "a")}) == 3
""",
    "time, datetime, sched": """
import datetime, sched, time
def handler(event):
    for clock in (time.CLOCK_REALTIME, time.CLOCK_BOOTTIME, time.CLOCK_PROCESS_CPUTIME_ID): time.clock_gettime(clock)
    time.sleep(0.001); time.tzset()
    scheduler = sched.scheduler()
    scheduler.enter(0, 1, lambda: None); scheduler.run()
    return str(datetime.datetime.fromtimestamp(0, datetime.UTC)) == "1970-01-01 00:00:00+00:00"
""",
    "decimal, fractions, statistics": """
import decimal, fractions, statistics
def handler(event):
    sum = decimal.Decimal("0.1") + decimal.Decimal("0.2")
    return [str(sum), fractions.Fraction(1, 3) * 3, statistics.mean([1, 3])] == ["0.3", 1, 2]
""",
    "locale and text": """
import codecs, locale, unicodedata
import xml.etree.ElementTree as tree
def handler(event):
    locale.setlocale(locale.LC_ALL, "")
    open("é", "w").write("ü")
    return [locale.getpreferredencoding(), open("é").read(), codecs.encode("x", "rot13"), unicodedata.name("é")[:5],
            tree.fromstring("<a><b/></a>")[0].tag] == ["UTF-8", "ü", "k", "LATIN", "b"]
""",
    "terminals": """
import curses, os, pty, tty
def handler(event):
    main, other = pty.openpty()
    os.write(other, b"typed"); tty.setraw(other); curses.setupterm("dumb", main)
    child, terminal = pty.fork()
    if child == 0: os.execv("/usr/bin/tty", ["tty"])
    said = os.read(terminal, 100)
    os.waitpid(child, 0)
    return os.read(main, 5) == b"typed" and said.startswith(b"/dev/pts/")
""",
    "platform": """
import os, platform, socket
def handler(event):
    where = [platform.system(), os.getuid(), socket.gethostname(), os.path.expanduser("~")]
    return where == ["Linux", 1000, "sandbox", "/tmp"]
""",
    "DNS ends at once with an error": """
import socket
def handler(event):
    try: socket.getaddrinfo("example.org", 80)
    except socket.gaierror: return True
""",
    "inspect, logging, profiling": """
import cProfile, inspect, logging, tracemalloc
def handler(event):
    tracemalloc.start(); cProfile.Profile().runcall(sorted, [2, 1]); logging.getLogger().warning("logged")
    return inspect.getsource(handler).startswith("def handler") and open(__file__).read().count("tracemalloc") > 1
""",
    "venv and runpy": """
import pathlib, runpy, subprocess, venv
def handler(event):
    venv.create("env", with_pip=False)
    prefix = subprocess.check_output(["env/bin/python", "-c", "import sys; print(sys.prefix)"], text=True)
    pathlib.Path("m.py").write_text("a = 1")
    return [prefix, runpy.run_path("m.py")["a"]] == ["/workspace/env\\n", 1]
""",
    "every module can be imported": """
import importlib, sys
LEFT_OUT = {"antigravity", "this", "idlelib", "turtle", "turtledemo", "tkinter", "lib2to3"}  # for a screen, or a game
FOREIGN = ("_", "msilib", "winreg", "winsound", "nt", "msvcrt")
def handler(event):
    failed = {}
    for name in sorted(sys.stdlib_module_names - LEFT_OUT):
        if name.startswith(FOREIGN): continue
        try: importlib.import_module(name)
        except Exception as error: failed[name] = repr(error)
    return failed or True
""",
}
