package android.widget;

import android.content.Context;
import android.view.ViewGroup;

/** A stand-in for Android's class, so that the sample compiles. It does nothing. */
public class LinearLayout extends ViewGroup {
    public static final int VERTICAL = 1;

    private int orientation;

    public LinearLayout(Context context) {
        super(context);
    }

    public int getOrientation() {
        return orientation;
    }

    public void setOrientation(int orientation) {
        this.orientation = orientation;
    }
}
