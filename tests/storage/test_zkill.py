"""N kills at random of a toy run into a bucket. python kill.py N"""
import os, random, subprocess, sys, time, signal, pickle
from pathlib import Path
from tests.storage.conftest import *
from tests.engine.test_interruptions import TEXTS, no_member, wait_for
from functools import partial
def test_kills(s3, tmp_path):
    N=int(os.environ.get("KILLS","30"))
    whole=in_bucket(tmp_path/"whole","s3://art/whole").write(**TEXTS); whole.run(); want=tables(whole.store)
    w=in_bucket(tmp_path/"w").write(**TEXTS)
    rnd=random.Random(3); kills=0; again=0
    while kills<N:
        p=subprocess.Popen([sys.executable,"-m","tests.storage.toy_run",str(w.root),"s3://art/toys","0.15"],stdout=subprocess.PIPE,stderr=subprocess.PIPE,text=True,start_new_session=True)
        try: o,e=p.communicate(timeout=rnd.uniform(1.0,6))
        except subprocess.TimeoutExpired:
            p.kill(); p.communicate(); wait_for(partial(no_member,p.pid),seconds=20); kills+=1
        else:
            print("rc",p.returncode,e[-500:]); assert p.returncode==0; again+=1
            s3.request("DELETE", "art/toys/words/"+random.choice("abc")+".txt.parquet")
            for k in s3.names():
                if k.startswith("toys/") and rnd.random()<.7: s3.request("DELETE","art/"+k)
        ups=s3.request("GET","art?uploads").decode(); assert "<Upload>" not in ups, ups
    print("kills",kills,"ended",again)
    w=in_bucket(tmp_path/"w"); w.run()
    got=tables(w.store)
    for d in (got,want):
        for k,v in d.items():
            if k.startswith("quarantine"):
                for r in v: r.pop("attempts"); r.pop("traceback")
    assert got==want
    print([k for k in s3.names() if ".lock" in k])
