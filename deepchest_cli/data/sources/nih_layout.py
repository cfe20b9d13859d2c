"""What NIH ChestX-ray14's files are called and how its boxes are written; no code."""

# tables of labels, the newest first
METADATA_FILES = ("Data_Entry_2017_v2020.csv", "Data_Entry_2017.csv", "sample_labels.csv")
SPLIT_LISTS = {"train_val": "train_val_list.txt", "test": "test_list.txt"}

BOX_FILE = "BBox_List_2017.csv"
BOX_FRAME = 1024.0  # pixels; boxes are given on the 1024 px PNG files, whatever a copy's size
# the table of boxes spells one finding differently from the table of labels
BOX_SPELLINGS = {"Infiltrate": "Infiltration"}
# the eight findings of the first release, ChestX-ray8, are the ones with boxes
BOXED_FINDINGS = frozenset(
    {
        "Atelectasis",
        "Cardiomegaly",
        "Effusion",
        "Infiltration",
        "Mass",
        "Nodule",
        "Pneumonia",
        "Pneumothorax",
    }
)
