-- Messages are listed by the address they went to, also where the address belongs to a contact.
DROP INDEX messages_address;
CREATE INDEX messages_address ON messages (project_id, address, created_us, id)
    WHERE address IS NOT NULL;
