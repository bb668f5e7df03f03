BEGIN TRANSACTION;
CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO "alembic_version" VALUES('0002');
CREATE TABLE alias_event (
	uid TEXT NOT NULL, 
	name TEXT NOT NULL, 
	alias TEXT NOT NULL, 
	digest TEXT, 
	at TEXT NOT NULL, 
	actor TEXT, 
	reason TEXT, 
	CONSTRAINT pk_alias_event PRIMARY KEY (uid)
);
INSERT INTO "alias_event" VALUES('01a06653-f770-7d46-a489-698567d95ec5','llama-3.2-1b-instruct','latest','tree1:3fbbe2978f1d6cec955211c249ad3d4c2a55ad7a82a925c7f01fcfb29818b557','2026-09-03T08:12:54.000000Z',NULL,NULL);
INSERT INTO "alias_event" VALUES('01a067bc-0b20-7488-979d-b80a9f35829a','mistral-7b-instruct-v0.3','latest','tree1:0cd2f9a8083a7a117f3977a9866f42084494132816bb0461db76066140737cc3','2026-09-03T14:46:12.000000Z',NULL,NULL);
INSERT INTO "alias_event" VALUES('01a08a93-4b40-7178-b4fc-b7ca82687445','phi-3-mini-4k-instruct','latest','tree1:ef22fd9b866faca9ec1978cddccb81da9ef4805dd59c4cacdc310ab5793fa856','2026-09-10T09:08:24.000000Z',NULL,NULL);
INSERT INTO "alias_event" VALUES('01a0f869-9c50-73e4-9f14-00bf082a7ff1','phi-3.5-mini-instruct','latest','tree1:b1eb0513318305eb7fba66a233288724e3d660a273d16657d45dd7e9a4aa6679','2026-10-01T17:01:06.000000Z',NULL,NULL);
INSERT INTO "alias_event" VALUES('01a15838-dce0-7702-82db-034ec54d02a7','qwen2.5-0.5b-instruct','latest','tree1:7640f6b000867878b16caebd462425da6c0cc8159f65dde742a1f95b04eac242','2026-10-20T07:31:24.000000Z',NULL,NULL);
INSERT INTO "alias_event" VALUES('01a19bea-f8b0-7937-993e-49576c5213df','qwen2.5-0.5b-instruct','latest','tree1:dffb4ed50ca49de133959a70b38c9f4e1157f49094e7ac388146a4ac74f20233','2026-11-02T11:00:30.000000Z',NULL,NULL);
INSERT INTO "alias_event" VALUES('01a06bdc-6100-76c6-bd28-5cee8e6c24f5','llama-3.2-1b-instruct','prod','tree1:3fbbe2978f1d6cec955211c249ad3d4c2a55ad7a82a925c7f01fcfb29818b557','2026-09-04T10:00:00.000000Z',NULL,NULL);
CREATE TABLE artifact (
	id INTEGER NOT NULL, 
	digest TEXT NOT NULL, 
	kind TEXT NOT NULL, 
	weights_digest TEXT, 
	architecture TEXT, 
	dtype TEXT, 
	size_bytes BIGINT NOT NULL, 
	facts JSON NOT NULL, 
	first_seen_at TEXT NOT NULL, 
	CONSTRAINT pk_artifact PRIMARY KEY (id), 
	CONSTRAINT uq_artifact_digest UNIQUE (digest), 
	CONSTRAINT ck_artifact_kind CHECK (kind IN ('gguf', 'gguf-split', 'hf-folder', 'adapter', 'file'))
);
INSERT INTO "artifact" VALUES(1,'sha256:d00a68f70717d055cfbff7cf712282abf4644b5f9960f8441e55efc2a2a7a690','gguf',NULL,'llama','Q4_K',807694464,'{"license":"llama3.2"}','2026-09-03T08:12:00.000000Z');
INSERT INTO "artifact" VALUES(2,'tree1:3fbbe2978f1d6cec955211c249ad3d4c2a55ad7a82a925c7f01fcfb29818b557','hf-folder','weights1:d957754c918a72d850a63e5d416a75c9198a5137c03b0a8ffc8dd6cd57ccebd6','llama','bfloat16',2475029892,'{"license":"llama3.2"}','2026-09-03T08:12:00.000000Z');
INSERT INTO "artifact" VALUES(3,'sha256:bfd922af7607b0f6bc7d49758c5b7808438eadda0e08bbc039568ee743132d70','gguf',NULL,'llama','Q8_0',7702565088,'{"license":"apache-2.0"}','2026-09-03T14:40:00.000000Z');
INSERT INTO "artifact" VALUES(4,'tree1:0cd2f9a8083a7a117f3977a9866f42084494132816bb0461db76066140737cc3','hf-folder','weights1:c2252b2e519d13eb72c48889c949194808759111ccd6d5fc87b1c98f4d3c201b','llama','bfloat16',14499465212,'{"license":"apache-2.0"}','2026-09-03T14:40:00.000000Z');
INSERT INTO "artifact" VALUES(5,'sha256:63031bf8a13ae26291c3093ae0d1f15ac4869c28e2ec509db6f0cda865ef51c0','gguf',NULL,'phi3','F16',7643295904,'{"license":"mit"}','2026-09-10T09:05:00.000000Z');
INSERT INTO "artifact" VALUES(6,'tree1:ef22fd9b866faca9ec1978cddccb81da9ef4805dd59c4cacdc310ab5793fa856','hf-folder','weights1:744a5fcb4d75f4ae5692c5948f3cfea78984e751caac4388a61713c907889c47','phi3','float16',7645566164,'{"license":"mit"}','2026-09-10T09:05:00.000000Z');
INSERT INTO "artifact" VALUES(7,'sha256:52b5ee8d70287773c33060ee1bdfe6059a19385abd5de56448393174e5e4359c','gguf',NULL,'phi3','Q5_K',2815275232,'{"license":"mit"}','2026-10-01T16:58:00.000000Z');
INSERT INTO "artifact" VALUES(8,'tree1:b1eb0513318305eb7fba66a233288724e3d660a273d16657d45dd7e9a4aa6679','hf-folder','weights1:f3790356df33dfb5db1f29e8549a35392f1a94db42d3465abe8f9d7801899262','phi3','bfloat16',7645566164,'{"license":"mit"}','2026-10-01T16:58:00.000000Z');
INSERT INTO "artifact" VALUES(9,'sha256:23a707dbed2f08e26cc4fde3531e1a2cb11a208d748f9f69d27780b81fdbb985','gguf',NULL,'qwen2','Q4_0',428730208,'{"license":"apache-2.0"}','2026-10-20T07:31:00.000000Z');
INSERT INTO "artifact" VALUES(10,'tree1:7640f6b000867878b16caebd462425da6c0cc8159f65dde742a1f95b04eac242','hf-folder','weights1:033ce997242a1417d32c1fc79fd7224f4af01253493edf0f67c515f5b200d5d1','qwen2','bfloat16',991482108,'{"license":"apache-2.0"}','2026-10-20T07:31:00.000000Z');
INSERT INTO "artifact" VALUES(11,'tree1:dffb4ed50ca49de133959a70b38c9f4e1157f49094e7ac388146a4ac74f20233','hf-folder','weights1:a45d6bc5fcf287d1849fcea0011d6d70abfd21e2db4f4d0d8d0645d45b80f259','qwen2','float32',1979547756,'{"license":"apache-2.0"}','2026-11-02T11:00:00.000000Z');
INSERT INTO "artifact" VALUES(12,'sha256:8dc251ba56fbd2942ba56377b50279a708112c298d6b1f2e1aecf32a17a470d1','gguf',NULL,'qwen2','Q6_K',4194304000,'{}','2026-10-14T13:22:00.000000Z');
CREATE TABLE check_result (
	run_id INTEGER NOT NULL, 
	artifact_id INTEGER NOT NULL, 
	name TEXT NOT NULL, 
	status TEXT NOT NULL, 
	value TEXT, 
	threshold TEXT, 
	op TEXT, 
	unit TEXT, 
	detail JSON, 
	CONSTRAINT pk_check_result PRIMARY KEY (run_id, artifact_id, name), 
	CONSTRAINT fk_check_result_run_id FOREIGN KEY(run_id) REFERENCES run (id), 
	CONSTRAINT fk_check_result_artifact_id FOREIGN KEY(artifact_id) REFERENCES artifact (id), 
	CONSTRAINT ck_check_result_status CHECK (status IN ('PASSED', 'WARNED', 'FAILED', 'SKIPPED', 'ERROR'))
);
INSERT INTO "check_result" VALUES(2,2,'closure','PASSED','0','0','<=',NULL,NULL);
INSERT INTO "check_result" VALUES(2,2,'logits.kl','PASSED','3.1e-13','1e-8','<=',NULL,NULL);
INSERT INTO "check_result" VALUES(2,2,'logits.top1','PASSED','0','0','<=',NULL,NULL);
INSERT INTO "check_result" VALUES(4,4,'closure','PASSED','0','0','<=',NULL,NULL);
INSERT INTO "check_result" VALUES(4,4,'logits.kl','WARNED','2.6e-8','1e-8','<=',NULL,NULL);
INSERT INTO "check_result" VALUES(4,4,'logits.top1','PASSED','0','0','<=',NULL,NULL);
INSERT INTO "check_result" VALUES(6,6,'closure','SKIPPED',NULL,'0','<=',NULL,NULL);
INSERT INTO "check_result" VALUES(6,6,'logits.kl','SKIPPED',NULL,'1e-8','<=',NULL,NULL);
INSERT INTO "check_result" VALUES(6,6,'folder.loads','PASSED','0','0','<=',NULL,NULL);
INSERT INTO "check_result" VALUES(8,8,'closure','PASSED','0','0','<=',NULL,NULL);
INSERT INTO "check_result" VALUES(8,8,'logits.kl','FAILED','0.8432','1e-8','<=',NULL,NULL);
INSERT INTO "check_result" VALUES(8,8,'logits.top1','FAILED','61','0','<=',NULL,NULL);
INSERT INTO "check_result" VALUES(10,10,'closure','PASSED','0','0','<=',NULL,NULL);
INSERT INTO "check_result" VALUES(10,10,'logits.kl','PASSED','3.1e-13','1e-8','<=',NULL,NULL);
INSERT INTO "check_result" VALUES(10,10,'logits.top1','PASSED','0','0','<=',NULL,NULL);
CREATE TABLE file (
	id INTEGER NOT NULL, 
	artifact_id INTEGER NOT NULL, 
	path TEXT NOT NULL, 
	sha256 TEXT NOT NULL, 
	size_bytes BIGINT NOT NULL, 
	role TEXT NOT NULL, 
	CONSTRAINT pk_file PRIMARY KEY (id), 
	CONSTRAINT fk_file_artifact_id FOREIGN KEY(artifact_id) REFERENCES artifact (id), 
	CONSTRAINT uq_file_artifact_id_path_sha256 UNIQUE (artifact_id, path, sha256), 
	CONSTRAINT ck_file_role CHECK (role IN ('weights', 'config', 'tokenizer', 'card', 'record', 'other'))
);
INSERT INTO "file" VALUES(1,1,'Llama-3.2-1B-Instruct-Q4_K_M.gguf','d00a68f70717d055cfbff7cf712282abf4644b5f9960f8441e55efc2a2a7a690',807694464,'weights');
INSERT INTO "file" VALUES(2,2,'config.json','c6e684bac9da13fca637e56d90b42c5e30a50d60e0a2a42b783c6911fe267cf0',877,'config');
INSERT INTO "file" VALUES(3,2,'model.safetensors','d15bc2e5dacdbe94032cef9daa1cd29f8d25a23c671e55517760d1246f152e56',2471645608,'weights');
INSERT INTO "file" VALUES(4,2,'tokenizer.json','02c588a8827d151953b60db0fdaaa2aa48d29d24be86340ff29e7513da581d26',3383407,'tokenizer');
INSERT INTO "file" VALUES(5,3,'Mistral-7B-Instruct-v0.3.Q8_0.gguf','bfd922af7607b0f6bc7d49758c5b7808438eadda0e08bbc039568ee743132d70',7702565088,'weights');
INSERT INTO "file" VALUES(6,4,'config.json','4e36a41332ec48d3dc5a26ae246972a229af10188c544951768a08e9f54bac58',877,'config');
INSERT INTO "file" VALUES(7,4,'model-00001-of-00003.safetensors','e4cf6f2d66b01c42c3b960175eaa21f592c441f9f27cf23f1e1189bca2b2acad',4949453792,'weights');
INSERT INTO "file" VALUES(8,4,'model-00002-of-00003.safetensors','1b041dc90dd791b54c0b5a17ced841c9787669fc871a9d327e09715ca60f7de4',4999819336,'weights');
INSERT INTO "file" VALUES(9,4,'model-00003-of-00003.safetensors','d4282f5efd1e8a5f226f8ce6c5a32e94d681a4f3e4e4fc3c226242e49d1aa361',4546807800,'weights');
INSERT INTO "file" VALUES(10,4,'tokenizer.json','e690ba117f9e66d02082b63930002dd1de3fffdf60f8aca295bd407c940c0e51',3383407,'tokenizer');
INSERT INTO "file" VALUES(11,5,'Phi-3-mini-4k-instruct-fp16.gguf','63031bf8a13ae26291c3093ae0d1f15ac4869c28e2ec509db6f0cda865ef51c0',7643295904,'weights');
INSERT INTO "file" VALUES(12,6,'config.json','68a769791852ec76f78319fbe3fea8e3bfb447263054194ef58579e9ea605b8a',877,'config');
INSERT INTO "file" VALUES(13,6,'model-00001-of-00002.safetensors','c3589eb868898b30e2da8d85f0cab72395182b8b483897426d0bf1b59664d800',4972489328,'weights');
INSERT INTO "file" VALUES(14,6,'model-00002-of-00002.safetensors','b2e2c5737a88b0d1e8cc66cc23ea3ea06347865c18f8d2e18e8409ae09f495d7',2669692552,'weights');
INSERT INTO "file" VALUES(15,6,'tokenizer.json','855b52ebb7c4aec06e0c7b83c498d6f6f17bc850d5bf4c14617ef68fd3b8870f',3383407,'tokenizer');
INSERT INTO "file" VALUES(16,7,'Phi-3.5-mini-instruct-Q5_K_M.gguf','52b5ee8d70287773c33060ee1bdfe6059a19385abd5de56448393174e5e4359c',2815275232,'weights');
INSERT INTO "file" VALUES(17,8,'config.json','dee44e31f12456042a80a4fb9e4c3235dbbdeef25f33d658facb6f2830b49492',877,'config');
INSERT INTO "file" VALUES(18,8,'model-00001-of-00002.safetensors','833bfc86897755b16b78bcc509db901a5fefe92b0b520ef410f501c5cdb7e08e',4972489328,'weights');
INSERT INTO "file" VALUES(19,8,'model-00002-of-00002.safetensors','951081e3cc8a75c268acb954be1619a9619a7af32deae2a8217a0d4da8d08ed5',2669692552,'weights');
INSERT INTO "file" VALUES(20,8,'tokenizer.json','50e039dc2f5f44f8e6d1787ecf38a0e33c1ef87cc3e94b7acc6180ba2fbbb507',3383407,'tokenizer');
INSERT INTO "file" VALUES(21,9,'qwen2.5-0.5b-instruct-q4_0.gguf','23a707dbed2f08e26cc4fde3531e1a2cb11a208d748f9f69d27780b81fdbb985',428730208,'weights');
INSERT INTO "file" VALUES(22,10,'config.json','5ab58d867d7cc2fc839136e413b0b6908cd96ba7a77eb29e37884476f03735dd',877,'config');
INSERT INTO "file" VALUES(23,10,'model.safetensors','e3ff18c99a399e3237a48d6c7b7d5dac965b136e7fe3e2b0b3512f65c584fefd',988097824,'weights');
INSERT INTO "file" VALUES(24,10,'tokenizer.json','ea92a0619d9a59dfab6ba35a709745ce9fbfbf06b2e8398e94ecf8bfecd21a07',3383407,'tokenizer');
INSERT INTO "file" VALUES(25,11,'config.json','ed2c5aec4c99289d6c92eb718946b841b3c28ad1bec09396aca44ecdabdef154',877,'config');
INSERT INTO "file" VALUES(26,11,'model.safetensors','74906cf4184edee0eec46e6d7a10db5e61d3f53e3330c1f379c864892c991b1d',1976163472,'weights');
INSERT INTO "file" VALUES(27,11,'tokenizer.json','309e95a57fc5dc241fd5f1adebd6c1c091fe68a2ed297011bb0fe9b5b15171aa',3383407,'tokenizer');
INSERT INTO "file" VALUES(28,12,'Qwen2.5-7B-Instruct-Q6_K.gguf','8dc251ba56fbd2942ba56377b50279a708112c298d6b1f2e1aecf32a17a470d1',4194304000,'weights');
CREATE TABLE location (
	host TEXT NOT NULL, 
	path TEXT NOT NULL, 
	artifact_id INTEGER NOT NULL, 
	seen_at TEXT NOT NULL, verified_at TEXT, gone_at TEXT, 
	CONSTRAINT pk_location PRIMARY KEY (host, path), 
	CONSTRAINT fk_location_artifact_id FOREIGN KEY(artifact_id) REFERENCES artifact (id)
);
INSERT INTO "location" VALUES('workstation','/models/Llama-3.2-1B-Instruct-Q4_K_M.gguf',1,'2026-09-03T08:13:33.000000Z',NULL,NULL);
INSERT INTO "location" VALUES('workstation','/models/llama-3.2-1b-instruct-bfloat16',2,'2026-09-03T08:13:33.000000Z',NULL,NULL);
INSERT INTO "location" VALUES('build-3','/models/Mistral-7B-Instruct-v0.3.Q8_0.gguf',3,'2026-09-03T14:46:51.000000Z',NULL,NULL);
INSERT INTO "location" VALUES('build-3','/models/mistral-7b-instruct-v0.3-bfloat16',4,'2026-09-03T14:46:51.000000Z',NULL,NULL);
INSERT INTO "location" VALUES('build-3','/models/Phi-3-mini-4k-instruct-fp16.gguf',5,'2026-09-10T09:09:03.000000Z',NULL,NULL);
INSERT INTO "location" VALUES('build-3','/models/phi-3-mini-4k-instruct-float16',6,'2026-09-10T09:09:03.000000Z',NULL,NULL);
INSERT INTO "location" VALUES('workstation','/models/Phi-3.5-mini-instruct-Q5_K_M.gguf',7,'2026-10-01T17:01:45.000000Z',NULL,NULL);
INSERT INTO "location" VALUES('workstation','/models/phi-3.5-mini-instruct-bfloat16',8,'2026-10-01T17:01:45.000000Z',NULL,NULL);
INSERT INTO "location" VALUES('workstation','/models/qwen2.5-0.5b-instruct-q4_0.gguf',9,'2026-11-02T11:00:30.000000Z',NULL,NULL);
INSERT INTO "location" VALUES('workstation','/models/qwen2.5-0.5b-instruct-bfloat16',10,'2026-10-20T07:32:03.000000Z',NULL,NULL);
INSERT INTO "location" VALUES('workstation','/models/qwen2.5-0.5b-instruct-float32',11,'2026-11-02T11:00:30.000000Z',NULL,NULL);
INSERT INTO "location" VALUES('workstation','/models/Qwen2.5-7B-Instruct-Q6_K.gguf',12,'2026-10-14T13:22:02.000000Z',NULL,NULL);
CREATE TABLE run (
	id INTEGER NOT NULL, 
	uid TEXT NOT NULL, 
	kind TEXT NOT NULL, 
	status TEXT NOT NULL, 
	started_at TEXT NOT NULL, 
	finished_at TEXT, 
	host TEXT, 
	params TEXT NOT NULL, 
	error TEXT, 
	exit_code INTEGER, boot_id TEXT, pid BIGINT, pid_start BIGINT, 
	CONSTRAINT pk_run PRIMARY KEY (id), 
	CONSTRAINT uq_run_uid UNIQUE (uid), 
	CONSTRAINT ck_run_kind CHECK (kind IN ('fetch', 'convert', 'verify', 'adopt', 'export')), 
	CONSTRAINT ck_run_status CHECK (status IN ('running', 'failed', 'succeeded'))
);
INSERT INTO "run" VALUES(1,'01a06653-2480-7014-a983-308386c3cc8b','convert','succeeded','2026-09-03T08:12:00.000000Z','2026-09-03T08:12:54.000000Z','workstation','{"dtype":"bfloat16","max_shard_size":5000000000,"strict":false}',NULL,0,NULL,NULL,NULL);
INSERT INTO "run" VALUES(2,'01a06653-fb58-73da-a6e4-a49247fcbf7e','verify','succeeded','2026-09-03T08:12:55.000000Z','2026-09-03T08:13:33.000000Z','workstation','{"device":"cpu","level":"quick"}',NULL,0,NULL,NULL,NULL);
INSERT INTO "run" VALUES(3,'01a067b6-5e00-7294-b4d8-e476c68d23c8','convert','succeeded','2026-09-03T14:40:00.000000Z','2026-09-03T14:46:12.000000Z','build-3','{"dtype":"bfloat16","max_shard_size":5000000000,"strict":false}',NULL,0,NULL,NULL,NULL);
INSERT INTO "run" VALUES(4,'01a067bc-0f08-71a8-b624-ef3634bae3d0','verify','succeeded','2026-09-03T14:46:13.000000Z','2026-09-03T14:46:51.000000Z','build-3','{"device":"cpu","level":"quick"}',NULL,0,NULL,NULL,NULL);
INSERT INTO "run" VALUES(5,'01a08a90-2e60-704a-b676-133499a6115c','convert','succeeded','2026-09-10T09:05:00.000000Z','2026-09-10T09:08:24.000000Z','build-3','{"dtype":"float16","max_shard_size":5000000000,"strict":false}',NULL,0,NULL,NULL,NULL);
INSERT INTO "run" VALUES(6,'01a08a93-4f28-72a0-a812-010d9e6d32c0','verify','succeeded','2026-09-10T09:08:25.000000Z','2026-09-10T09:09:03.000000Z','build-3','{"device":"cpu","level":"quick"}',NULL,0,NULL,NULL,NULL);
INSERT INTO "run" VALUES(7,'01a0f866-c5c0-72a7-9734-255e440b236a','convert','succeeded','2026-10-01T16:58:00.000000Z','2026-10-01T17:01:06.000000Z','workstation','{"dtype":"bfloat16","max_shard_size":5000000000,"strict":false}',NULL,0,NULL,NULL,NULL);
INSERT INTO "run" VALUES(8,'01a0f869-a038-73b0-a254-b017f395dc83','verify','succeeded','2026-10-01T17:01:07.000000Z','2026-10-01T17:01:45.000000Z','workstation','{"device":"cpu","level":"quick"}',NULL,1,NULL,NULL,NULL);
INSERT INTO "run" VALUES(9,'01a15838-7f20-7190-b358-c5270246c70c','convert','succeeded','2026-10-20T07:31:00.000000Z','2026-10-20T07:31:24.000000Z','workstation','{"dtype":"bfloat16","max_shard_size":5000000000,"strict":false}',NULL,0,NULL,NULL,NULL);
INSERT INTO "run" VALUES(10,'01a15838-e0c8-72ad-85a7-1e1d3c780347','verify','succeeded','2026-10-20T07:31:25.000000Z','2026-10-20T07:32:03.000000Z','workstation','{"device":"cpu","level":"quick"}',NULL,0,NULL,NULL,NULL);
INSERT INTO "run" VALUES(11,'01a19bea-8380-7033-afc3-9e5a08f6a51c','convert','succeeded','2026-11-02T11:00:00.000000Z','2026-11-02T11:00:30.000000Z','workstation','{"dtype":"float32","max_shard_size":5000000000,"strict":false}',NULL,0,NULL,NULL,NULL);
INSERT INTO "run" VALUES(12,'01a13a93-b0c0-7135-84c1-63413469628a','convert','failed','2026-10-14T13:22:00.000000Z','2026-10-14T13:22:02.000000Z','workstation','{"dtype":"auto","max_shard_size":5000000000,"strict":false}','tensor ''blk.17.ffn_down.weight'' ends at byte 4234706944, the file at 4194304000: it is cut short',3,NULL,NULL,NULL);
CREATE TABLE run_io (
	run_id INTEGER NOT NULL, 
	role TEXT NOT NULL, 
	artifact_id INTEGER NOT NULL, 
	label TEXT, 
	CONSTRAINT pk_run_io PRIMARY KEY (run_id, role, artifact_id), 
	CONSTRAINT fk_run_io_run_id FOREIGN KEY(run_id) REFERENCES run (id), 
	CONSTRAINT fk_run_io_artifact_id FOREIGN KEY(artifact_id) REFERENCES artifact (id), 
	CONSTRAINT ck_run_io_role CHECK (role IN ('input', 'output', 'reference', 'byproduct'))
);
INSERT INTO "run_io" VALUES(1,'input',1,'Llama-3.2-1B-Instruct-Q4_K_M.gguf');
INSERT INTO "run_io" VALUES(1,'output',2,'llama-3.2-1b-instruct-bfloat16');
INSERT INTO "run_io" VALUES(2,'input',2,'llama-3.2-1b-instruct-bfloat16');
INSERT INTO "run_io" VALUES(2,'reference',1,'Llama-3.2-1B-Instruct-Q4_K_M.gguf');
INSERT INTO "run_io" VALUES(3,'input',3,'Mistral-7B-Instruct-v0.3.Q8_0.gguf');
INSERT INTO "run_io" VALUES(3,'output',4,'mistral-7b-instruct-v0.3-bfloat16');
INSERT INTO "run_io" VALUES(4,'input',4,'mistral-7b-instruct-v0.3-bfloat16');
INSERT INTO "run_io" VALUES(4,'reference',3,'Mistral-7B-Instruct-v0.3.Q8_0.gguf');
INSERT INTO "run_io" VALUES(5,'input',5,'Phi-3-mini-4k-instruct-fp16.gguf');
INSERT INTO "run_io" VALUES(5,'output',6,'phi-3-mini-4k-instruct-float16');
INSERT INTO "run_io" VALUES(6,'input',6,'phi-3-mini-4k-instruct-float16');
INSERT INTO "run_io" VALUES(6,'reference',5,'Phi-3-mini-4k-instruct-fp16.gguf');
INSERT INTO "run_io" VALUES(7,'input',7,'Phi-3.5-mini-instruct-Q5_K_M.gguf');
INSERT INTO "run_io" VALUES(7,'output',8,'phi-3.5-mini-instruct-bfloat16');
INSERT INTO "run_io" VALUES(8,'input',8,'phi-3.5-mini-instruct-bfloat16');
INSERT INTO "run_io" VALUES(8,'reference',7,'Phi-3.5-mini-instruct-Q5_K_M.gguf');
INSERT INTO "run_io" VALUES(9,'input',9,'qwen2.5-0.5b-instruct-q4_0.gguf');
INSERT INTO "run_io" VALUES(9,'output',10,'qwen2.5-0.5b-instruct-bfloat16');
INSERT INTO "run_io" VALUES(10,'input',10,'qwen2.5-0.5b-instruct-bfloat16');
INSERT INTO "run_io" VALUES(10,'reference',9,'qwen2.5-0.5b-instruct-q4_0.gguf');
INSERT INTO "run_io" VALUES(11,'input',9,'qwen2.5-0.5b-instruct-q4_0.gguf');
INSERT INTO "run_io" VALUES(11,'output',11,'qwen2.5-0.5b-instruct-float32');
INSERT INTO "run_io" VALUES(12,'input',12,'Qwen2.5-7B-Instruct-Q6_K.gguf');
CREATE TABLE run_tool (
	run_id INTEGER NOT NULL, 
	name TEXT NOT NULL, 
	version TEXT NOT NULL, 
	CONSTRAINT pk_run_tool PRIMARY KEY (run_id, name), 
	CONSTRAINT fk_run_tool_run_id FOREIGN KEY(run_id) REFERENCES run (id)
);
INSERT INTO "run_tool" VALUES(1,'llorch','0.1.0');
INSERT INTO "run_tool" VALUES(1,'numba','0.67.1');
INSERT INTO "run_tool" VALUES(1,'numpy','2.4.0');
INSERT INTO "run_tool" VALUES(1,'python','3.11.7');
INSERT INTO "run_tool" VALUES(2,'llorch','0.1.0');
INSERT INTO "run_tool" VALUES(2,'numba','0.67.1');
INSERT INTO "run_tool" VALUES(2,'numpy','2.4.0');
INSERT INTO "run_tool" VALUES(2,'python','3.11.7');
INSERT INTO "run_tool" VALUES(2,'torch','2.13.0');
INSERT INTO "run_tool" VALUES(3,'llorch','0.1.0');
INSERT INTO "run_tool" VALUES(3,'numba','0.67.1');
INSERT INTO "run_tool" VALUES(3,'numpy','2.4.0');
INSERT INTO "run_tool" VALUES(3,'python','3.11.7');
INSERT INTO "run_tool" VALUES(4,'llorch','0.1.0');
INSERT INTO "run_tool" VALUES(4,'numba','0.67.1');
INSERT INTO "run_tool" VALUES(4,'numpy','2.4.0');
INSERT INTO "run_tool" VALUES(4,'python','3.11.7');
INSERT INTO "run_tool" VALUES(4,'torch','2.13.0');
INSERT INTO "run_tool" VALUES(5,'llorch','0.1.0');
INSERT INTO "run_tool" VALUES(5,'numba','0.67.1');
INSERT INTO "run_tool" VALUES(5,'numpy','2.4.0');
INSERT INTO "run_tool" VALUES(5,'python','3.11.7');
INSERT INTO "run_tool" VALUES(6,'llorch','0.1.0');
INSERT INTO "run_tool" VALUES(6,'numba','0.67.1');
INSERT INTO "run_tool" VALUES(6,'numpy','2.4.0');
INSERT INTO "run_tool" VALUES(6,'python','3.11.7');
INSERT INTO "run_tool" VALUES(6,'torch','2.13.0');
INSERT INTO "run_tool" VALUES(7,'llorch','0.1.0');
INSERT INTO "run_tool" VALUES(7,'numba','0.67.1');
INSERT INTO "run_tool" VALUES(7,'numpy','2.4.0');
INSERT INTO "run_tool" VALUES(7,'python','3.11.7');
INSERT INTO "run_tool" VALUES(8,'llorch','0.1.0');
INSERT INTO "run_tool" VALUES(8,'numba','0.67.1');
INSERT INTO "run_tool" VALUES(8,'numpy','2.4.0');
INSERT INTO "run_tool" VALUES(8,'python','3.11.7');
INSERT INTO "run_tool" VALUES(8,'torch','2.13.0');
INSERT INTO "run_tool" VALUES(9,'llorch','0.1.0');
INSERT INTO "run_tool" VALUES(9,'numba','0.67.1');
INSERT INTO "run_tool" VALUES(9,'numpy','2.4.0');
INSERT INTO "run_tool" VALUES(9,'python','3.11.7');
INSERT INTO "run_tool" VALUES(10,'llorch','0.1.0');
INSERT INTO "run_tool" VALUES(10,'numba','0.67.1');
INSERT INTO "run_tool" VALUES(10,'numpy','2.4.0');
INSERT INTO "run_tool" VALUES(10,'python','3.11.7');
INSERT INTO "run_tool" VALUES(10,'torch','2.13.0');
INSERT INTO "run_tool" VALUES(11,'llorch','0.1.0');
INSERT INTO "run_tool" VALUES(11,'numba','0.67.1');
INSERT INTO "run_tool" VALUES(11,'numpy','2.4.0');
INSERT INTO "run_tool" VALUES(11,'python','3.11.7');
INSERT INTO "run_tool" VALUES(12,'llorch','0.1.0');
INSERT INTO "run_tool" VALUES(12,'numba','0.67.1');
INSERT INTO "run_tool" VALUES(12,'numpy','2.4.0');
INSERT INTO "run_tool" VALUES(12,'python','3.11.7');
CREATE TABLE source (
	run_id INTEGER NOT NULL, 
	kind TEXT NOT NULL, 
	repository TEXT NOT NULL, 
	path TEXT NOT NULL, 
	artifact_id INTEGER, 
	revision_requested TEXT, 
	revision_resolved TEXT, 
	etag TEXT, 
	etag_kind TEXT, 
	expected_digest TEXT, 
	observed_digest TEXT, 
	observed_size BIGINT, 
	CONSTRAINT pk_source PRIMARY KEY (run_id, kind, repository, path), 
	CONSTRAINT fk_source_run_id FOREIGN KEY(run_id) REFERENCES run (id), 
	CONSTRAINT fk_source_artifact_id FOREIGN KEY(artifact_id) REFERENCES artifact (id), 
	CONSTRAINT ck_source_kind CHECK (kind IN ('hub', 'url', 'file'))
);
CREATE TABLE tensor (
	artifact_id INTEGER NOT NULL, 
	name TEXT NOT NULL, 
	file TEXT NOT NULL, 
	dtype TEXT NOT NULL, 
	shape TEXT NOT NULL, 
	offset_bytes BIGINT NOT NULL, 
	size_bytes BIGINT NOT NULL, 
	sha256 TEXT NOT NULL, 
	CONSTRAINT pk_tensor PRIMARY KEY (artifact_id, name), 
	CONSTRAINT fk_tensor_artifact_id FOREIGN KEY(artifact_id) REFERENCES artifact (id)
);
CREATE INDEX ix_artifact_weights_digest ON artifact (weights_digest);
CREATE INDEX ix_file_sha256 ON file (sha256);
CREATE INDEX ix_run_started_at_uid ON run (started_at, uid);
CREATE INDEX ix_run_tool_name_version ON run_tool (name, version);
CREATE INDEX ix_run_io_artifact_id_role ON run_io (artifact_id, role);
CREATE INDEX ix_check_result_artifact_id_name ON check_result (artifact_id, name);
CREATE INDEX ix_alias_event_digest ON alias_event (digest);
CREATE INDEX ix_alias_event_name_alias_at_uid ON alias_event (name, alias, at, uid);
CREATE INDEX ix_location_artifact_id ON location (artifact_id);
CREATE INDEX ix_tensor_sha256 ON tensor (sha256);
CREATE INDEX ix_source_artifact_id ON source (artifact_id);
COMMIT;
